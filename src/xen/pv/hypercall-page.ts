/** The hypercall page of PV guests: 128 stubs of 32 bytes (`xen:arch/x86/pv/hypercall.c#pv_hypercall_page`). */
import { __HYPERVISOR_iret } from '../../abi/xen/xen.ts';

const STUB = 32;
const PAGE = 4096;

/** The call keeps rcx and r11, which SYSCALL overwrites; iret does not come back, so that its frame begins with them. */
function stub64(number: number): readonly number[] {
  const load = [0xb8, number, 0, 0, 0];
  const enter = [0x0f, 0x05];
  if (number === __HYPERVISOR_iret) return [0x51, 0x41, 0x53, 0x50, ...load, ...enter];
  return [0x51, 0x41, 0x53, ...load, ...enter, 0x41, 0x5b, 0x59, 0xc3];
}

/** `int 0x82`; iret's frame begins with eax. */
function stub32(number: number): readonly number[] {
  const load = [0xb8, number, 0, 0, 0];
  const enter = [0xcd, 0x82];
  return number === __HYPERVISOR_iret ? [0x50, ...load, ...enter] : [...load, ...enter, 0xc3];
}

/** Fills a page; what stubs leave is `int3`. */
export function writePvHypercallPage(page: Uint8Array, width: 32 | 64): void {
  page.fill(0xcc);
  for (let number = 0; number < PAGE / STUB; number++)
    page.set(width === 64 ? stub64(number) : stub32(number), number * STUB);
}
