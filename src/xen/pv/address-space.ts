/** Which linear addresses belong to the hypervisor in a PV guest's address space (`xen:arch/x86/include/asm/config.h#HYPERVISOR_VIRT_START`). */

/** 64-bit: the lower half ends, the hypervisor's range begins and ends. */
export const LOWER_END = 1n << 47n,
  HYPERVISOR_START = 0xffff_8000_0000_0000n,
  HYPERVISOR_END = 0xffff_8800_0000_0000n;
/** 32-bit: everything from here on. */
export const HYPERVISOR_START_32 = 0xf580_0000n;

export const canonical = (address: bigint): boolean => address < LOWER_END || address >= HYPERVISOR_START;

/** May the hypervisor copy from or to here for a 64-bit guest? Only the start counts: going on from it ends in a hole before its range. */
export const guestAddress = (address: bigint): boolean => address < LOWER_END || address >= HYPERVISOR_END;

/** May it copy `size` bytes for a 32-bit guest? */
export const guestRange32 = (address: bigint, size: number): boolean =>
  address + BigInt(Math.max(size, 1)) <= HYPERVISOR_START_32;

/** `access_ok` of either width. */
export const accessOkay = (width: 32 | 64, address: bigint, size: number): boolean =>
  width === 64 ? guestAddress(address) : guestRange32(address, size);
