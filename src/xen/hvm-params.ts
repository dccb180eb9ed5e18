/** HVM parameters as the guest may read and set them. `xen:public/hvm/params.h` */
import { EEXIST, EINVAL, EPERM } from '../abi/xen/errno.ts';
import * as h from '../abi/xen/hvm.ts';
import type { Domain } from './domain.ts';
import type { HypercallContext } from './hypercall.ts';

const settable: ReadonlySet<number> = new Set([
  h.HVM_PARAM_CALLBACK_IRQ,
  h.HVM_PARAM_VM86_TSS,
  h.HVM_PARAM_VM86_TSS_SIZED,
  h.HVM_PARAM_ACPI_IOPORTS_LOCATION,
  h.HVM_PARAM_VM_GENERATION_ID_ADDR,
  h.HVM_PARAM_STORE_EVTCHN,
  h.HVM_PARAM_CONSOLE_EVTCHN,
  h.HVM_PARAM_X87_FIP_WIDTH,
]);
const readable: ReadonlySet<number> = new Set([
  ...settable,
  h.HVM_PARAM_STORE_PFN,
  h.HVM_PARAM_CONSOLE_PFN,
  h.HVM_PARAM_ALTP2M,
]);
const deprecated: ReadonlySet<number> = new Set([
  h.HVM_PARAM_PAE_ENABLED,
  h.HVM_PARAM_DM_DOMAIN,
  h.HVM_PARAM_MEMORY_EVENT_CR0,
  h.HVM_PARAM_MEMORY_EVENT_CR3,
  h.HVM_PARAM_MEMORY_EVENT_CR4,
  h.HVM_PARAM_MEMORY_EVENT_INT3,
  h.HVM_PARAM_NESTEDHVM,
  h.HVM_PARAM_MEMORY_EVENT_SINGLE_STEP,
  h.HVM_PARAM_BUFIOREQ_EVTCHN,
  h.HVM_PARAM_MEMORY_EVENT_MSR,
]);

/** Least and most useful sizes of the TSS for virtual-8086 mode: the structure, then with redirection and I/O bitmaps. */
const TSS_SIZE = 0x68n;
const TSS_MAX = TSS_SIZE + 0x20n + 0x2000n + 1n;
/** Internal mark in the stored value; guests never see it. */
const VM86_TSS_UPDATED = 1n << 63n;

/** EEXIST: alternate p2m; EINVAL: deprecated ones; EPERM: not for guests; then by parameter, EINVAL for bad values. */
export function setParam(domain: Domain, index: number, value: bigint, context: HypercallContext): number {
  if (index === h.HVM_PARAM_ALTP2M) return -EEXIST;
  if (deprecated.has(index)) return -EINVAL;
  if (!settable.has(index)) return -EPERM;
  const params = domain.hvmParams;
  switch (index) {
    case h.HVM_PARAM_CALLBACK_IRQ:
      domain.upcalls.setCallbackIrq(value);
      domain.info.latchWidth(context.width === 'compat');
      break;
    case h.HVM_PARAM_X87_FIP_WIDTH:
      if (value !== 0n && value !== 4n && value !== 8n) return -EINVAL;
      break;
    case h.HVM_PARAM_ACPI_IOPORTS_LOCATION:
      if (!domain.onAcpiIoPorts(value)) return -EINVAL;
      break;
    case h.HVM_PARAM_VM86_TSS:
      if (value >> 32n !== 0n) {
        domain.crash('VM86_TSS above 4 GiB');
        return -EINVAL;
      }
      params[h.HVM_PARAM_VM86_TSS_SIZED] = value === 0n ? 0n : value | (128n << 32n) | VM86_TSS_UPDATED;
      return 0;
    case h.HVM_PARAM_VM86_TSS_SIZED: {
      const size = value >> 32n;
      if (size < TSS_SIZE) {
        domain.crash('VM86_TSS_SIZED is too small');
        return -EINVAL;
      }
      params[index] = (value & 0xffff_ffffn) | ((size > TSS_MAX ? TSS_MAX : size) << 32n) | VM86_TSS_UPDATED;
      return 0;
    }
  }
  params[index] = value;
  return 0;
}

/** EINVAL: deprecated ones; EPERM: not for guests. */
export function getParam(domain: Domain, index: number): bigint | number {
  if (deprecated.has(index)) return -EINVAL;
  if (!readable.has(index)) return -EPERM;
  const sized = domain.hvmParams[h.HVM_PARAM_VM86_TSS_SIZED];
  if (index === h.HVM_PARAM_VM86_TSS) return sized & 0xffff_ffffn;
  if (index === h.HVM_PARAM_VM86_TSS_SIZED) return sized & ~VM86_TSS_UPDATED;
  return domain.hvmParams[index];
}
