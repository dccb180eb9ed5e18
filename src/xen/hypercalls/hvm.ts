/** `xen:public/hvm/hvm_op.h`: hvm_op. Parameters are in ../hvm-params.ts. */
import { EFAULT, EINVAL, ENOENT, EOPNOTSUPP, EPERM } from '../../abi/xen/errno.ts';
import * as h from '../../abi/xen/hvm.ts';
import { __HYPERVISOR_hvm_op } from '../../abi/xen/xen.ts';
import { gfn as asGfn } from '../../base/int.ts';
import { getParam, setParam } from '../hvm-params.ts';
import type { Entry, HypercallContext, Result } from '../hypercall.ts';
import { absent, full, hypercall, partial } from '../hypercall.ts';
import { MAX_GFN } from '../memory/p2m.ts';
import { targetSelf } from './common.ts';

/** EFAULT; EINVAL: index; ESRCH; EINVAL: not an HVM domain; EPERM: another domain; then those of the parameter. */
const setParamOp: Entry = full({ guests: 'all', arg: h.xen_hvm_param }, (context, p) => {
  if (p.index >= h.HVM_NR_PARAMS) return -EINVAL;
  const target = targetSelf(context, p.domid);
  if (target === -EPERM) return -EINVAL;
  if (target !== 0) return target;
  return context.domain.isHvm ? setParam(context.domain, p.index, p.value, context) : -EINVAL;
});

/** EFAULT; EINVAL: index; ESRCH; EINVAL: not an HVM domain; EPERM, EINVAL by parameter; EFAULT. */
const getParamOp: Entry = full({ guests: 'all', arg: h.xen_hvm_param }, (context, p, address) => {
  if (p.index >= h.HVM_NR_PARAMS) return -EINVAL;
  const target = targetSelf(context, p.domid);
  if (target === -EPERM) return -EINVAL;
  if (target !== 0) return target;
  if (!context.domain.isHvm) return -EINVAL;
  const value = getParam(context.domain, p.index);
  if (typeof value === 'number') return value;
  p.value = value;
  return context.copyToGuest(h.xen_hvm_param, address, p) ? 0 : -EFAULT;
});

/** EINVAL: an argument, or not an HVM domain. */
function flushTlbs(context: HypercallContext, _arg: undefined, address: bigint): Result {
  if (address !== 0n || !context.domain.isHvm) return -EINVAL;
  for (const vcpu of context.domain.vcpus) vcpu.cpu.flushTlb(true);
  return 0;
}

/** EFAULT; ESRCH, EPERM; EINVAL: not an HVM domain; EFAULT. */
const getMemType: Entry = full({ guests: 'all', arg: h.xen_hvm_get_mem_type, out: true }, (context, query) => {
  const target = targetSelf(context, query.domid);
  if (target !== 0) return target;
  const { domain } = context;
  if (!domain.isHvm) return -EINVAL;
  const mapped = query.pfn <= BigInt(MAX_GFN) && domain.p2m.frameAt(Number(query.pfn)) !== 0;
  if (!mapped) query.mem_type = h.HVMMEM_mmio_dm;
  else query.mem_type = domain.memory.isWritable(asGfn(Number(query.pfn))) ? h.HVMMEM_ram_rw : h.HVMMEM_ram_ro;
  return 0;
});

/** EFAULT; ESRCH; EOPNOTSUPP: another domain; EINVAL: no shadow paging here, as with hardware-assisted paging. */
const pagetableDying: Entry = full({ guests: 'all', arg: h.xen_hvm_pagetable_dying }, (context, arg) => {
  const target = targetSelf(context, arg.domid);
  if (target === -EPERM) return -EOPNOTSUPP;
  return target || -EINVAL;
});

/** EFAULT. */
const getTime: Entry = full({ guests: 'all' }, (context, _arg, address) =>
  context.copyToGuest(h.xen_hvm_get_time, address, { now: context.domain.now() }) ? 0 : -EFAULT,
);

/** EINVAL: not HVM; EFAULT; EINVAL: vector below 16; ENOENT. */
const setUpcallVector: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  const { domain } = context;
  if (!domain.isHvm) return -EINVAL;
  const op = context.copyFromGuest(h.xen_hvm_evtchn_upcall_vector, address);
  if (op === undefined) return -EFAULT;
  if (op.vector < 0x10) return -EINVAL;
  const vcpu = domain.vcpu(op.vcpu);
  if (vcpu === undefined) return -ENOENT;
  domain.upcalls.setUpcallVector(vcpu.id, op.vector);
  domain.upcalls.assert(vcpu);
  return 0;
});

export const hvmOp = hypercall(__HYPERVISOR_hvm_op, 'xen:public/hvm/hvm_op.h', {
  [h.HVMOP_set_param]: setParamOp,
  [h.HVMOP_get_param]: getParamOp,
  [h.HVMOP_flush_tlbs]: full({ guests: 'all' }, flushTlbs),
  [h.HVMOP_pagetable_dying]: pagetableDying,
  [h.HVMOP_get_time]: getTime,
  /** EFAULT; EINVAL: sizes. */
  [h.HVMOP_xentrace]: partial(
    'trace records are not kept',
    { guests: 'all', arg: h.xen_hvm_xentrace },
    (_context, t) => (t.extra_bytes % 4 !== 0 || t.extra_bytes > 28 || t.event >> 12 !== 0 ? -EINVAL : 0),
  ),
  [h.HVMOP_get_mem_type]: getMemType,
  [h.HVMOP_set_evtchn_upcall_vector]: setUpcallVector,
  /** EINVAL: an argument. */
  [h.HVMOP_guest_request_vm_event]: full({ guests: 'all' }, (_context, _arg, address) =>
    address === 0n ? 0 : -EINVAL,
  ),
  [h.HVMOP_altp2m]: absent(
    'alternate physical maps are not modelled; Xen answers EOPNOTSUPP where they are off',
    EOPNOTSUPP,
  ),
});
