/** The hypercall page of HVM guests: 128 stubs of 32 bytes. `xen:arch/x86/hvm/vmx hypercall page` */
import { __HYPERVISOR_iret } from '../abi/xen/xen.ts';

const STUB = 32;
const PAGE = 4096;

/** Fills a page: `mov eax, number; vmcall; ret`, the rest `int3`. iret has no meaning for HVM: `ud2`. */
export function writeHypercallPage(page: Uint8Array): void {
  page.fill(0xcc);
  for (let number = 0; number < PAGE / STUB; number++) {
    const stub = number === __HYPERVISOR_iret ? [0x0f, 0x0b] : [0xb8, number, 0, 0, 0, 0x0f, 0x01, 0xc1, 0xc3];
    page.set(stub, number * STUB);
  }
}
