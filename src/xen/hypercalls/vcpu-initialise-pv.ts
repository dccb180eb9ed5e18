/**
 * VCPUOP_initialise of a PV vCPU: the checks of a `vcpu_guest_context` that come before anything is changed.
 * `xen:public/arch-x86/xen.h#vcpu_guest_context`
 */
import { EINVAL } from '../../abi/xen/errno.ts';
import type { Layout } from '../../abi/xen/struct.ts';
import { canonical, guestAddress } from '../pv/address-space.ts';
import type { Rules } from '../rules.ts';

/** Bytes of vcpu_guest_context. */
export const VCPU_GUEST_CONTEXT_SIZE: Readonly<Record<Layout, number>> = { native: 5168, compat: 2800 };

/** Byte offsets of what is checked here. */
const NATIVE = {
  rip: 520 + 128,
  rsp: 520 + 152,
  trapCtxt: 720,
  ldtBase: 4816,
  ldtEnts: 4824,
  kernelSp: 4976,
  debugreg: 5048,
  callbacks: [5112, 5120, 5128],
  fsBase: 5144,
  gsBases: [5152, 5160],
} as const;
const COMPAT = { eflags: 516 + 40, ldtBase: 2632, ldtEnts: 2636 } as const;

const TRAPS = 256;
const TRAP_SIZE = 16;
const TRAP_ADDRESS = 8;
const EFLAGS_VM = 1 << 17;
const PAGE_MASK = 4095n;
const MAX_LDT_ENTRIES = 8192n;

/**
 * 0, or EINVAL, in this order. 64-bit: dr6 and dr7 above 32 bits, breakpoints in the hypervisor's range (4.18 on); addresses that are not
 * canonical: rip, rsp, kernel_sp, ldt_base when there is an LDT, fs_base, gs bases, callbacks, trap handlers; ldt_base in the hypervisor's range.
 * 32-bit: EFLAGS.VM (4.22 on). Both: LDT not page aligned or too long.
 */
export function checkPvContext(rules: Rules, width: Layout, raw: Uint8Array): number {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  if (width === 'compat') {
    if (rules.has('pv32-context-vm86') && (view.getUint32(COMPAT.eflags, true) & EFLAGS_VM) !== 0) return -EINVAL;
    return checkLdt(BigInt(view.getUint32(COMPAT.ldtBase, true)), BigInt(view.getUint32(COMPAT.ldtEnts, true)));
  }
  const word = (offset: number): bigint => view.getBigUint64(offset, true);
  if (rules.has('pv-context-debug-registers')) {
    for (const n of [6, 7]) if (word(NATIVE.debugreg + 8 * n) >> 32n !== 0n) return -EINVAL;
    for (const n of [0, 1, 2, 3]) if (!guestAddress(word(NATIVE.debugreg + 8 * n))) return -EINVAL;
  }
  const ldtBase = word(NATIVE.ldtBase);
  const ldtEnts = word(NATIVE.ldtEnts);
  const addresses = [NATIVE.rip, NATIVE.rsp, NATIVE.kernelSp, ...(ldtEnts === 0n ? [] : [NATIVE.ldtBase])];
  for (const offset of [...addresses, NATIVE.fsBase, ...NATIVE.gsBases, ...NATIVE.callbacks])
    if (!canonical(word(offset))) return -EINVAL;
  for (let n = 0; n < TRAPS; n++) if (!canonical(word(NATIVE.trapCtxt + n * TRAP_SIZE + TRAP_ADDRESS))) return -EINVAL;
  if (!guestAddress(ldtBase)) return -EINVAL;
  return checkLdt(ldtBase, ldtEnts);
}

const checkLdt = (base: bigint, entries: bigint): number =>
  (base & PAGE_MASK) !== 0n || entries > MAX_LDT_ENTRIES ? -EINVAL : 0;
