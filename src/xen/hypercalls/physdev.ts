/** `xen:public/physdev.h`: interrupts of devices, which no guest has here, and the I/O privileges of PV guests. */
import { EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as p from '../../abi/xen/misc.ts';
import type { Type } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_physdev_op } from '../../abi/xen/xen.ts';
import type { Entry, Handler } from '../hypercall.ts';
import { full, hypercall, partial } from '../hypercall.ts';
import { accessOkay } from '../pv/address-space.ts';
import { pvCaller } from '../pv/hypercall-common.ts';
import { targetSelf } from './common.ts';

/** ENOSYS: the domain has no pirqs; then as the handler says. The structure is copied only after that check. */
function needsPirqs<A>(arg: Type<A>, handler: Handler<A>): Entry {
  return partial(
    'no physical interrupts exist, so none is ever mapped',
    { guests: 'all' },
    (context, _arg, address) => {
      if (context.domain.isHvm && !context.domain.config.pirqs) return -ENOSYS;
      const value = context.copyFromGuest(arg, address);
      return value === undefined ? -EFAULT : handler(context, value, address);
    },
  );
}

/** ENOSYS: without pirqs before 4.20; EFAULT; EINVAL: several MSIs with a table base; ESRCH; EINVAL or EPERM. The structure is written back in any case. */
const mapPirq: Entry = partial(
  'no physical interrupts exist, so none is ever mapped',
  { guests: 'all' },
  (context, _arg, address) => {
    const { domain } = context;
    if (domain.isHvm && !domain.config.pirqs && !domain.rules.has('hvm-map-pirq-without-flag')) return -ENOSYS;
    const map = context.copyFromGuest(p.physdev_map_pirq, address);
    if (map === undefined) return -EFAULT;
    if (map.type === p.MAP_PIRQ_TYPE_MULTI_MSI && map.table_base !== 0n) return -EINVAL;
    const target = targetSelf(context, map.domid);
    if (target === -ESRCH) return target;
    const result = target === 0 && domain.isHvm && domain.config.pirqs ? -EINVAL : -EPERM;
    return context.copyToGuest(p.physdev_map_pirq, address, map) ? result : -EFAULT;
  },
);

/** ENOSYS: without pirqs before 4.20; EFAULT; ESRCH; EPERM. */
const unmapPirq: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  const { domain } = context;
  if (domain.isHvm && !domain.config.pirqs && !domain.rules.has('hvm-map-pirq-without-flag')) return -ENOSYS;
  const unmap = context.copyFromGuest(p.physdev_unmap_pirq, address);
  if (unmap === undefined) return -EFAULT;
  const target = targetSelf(context, unmap.domid);
  return target === -ESRCH ? target : -EPERM;
});

/** Bytes of a bit map for all ports; some of it must lie outside the hypervisor's range. */
const IO_BITMAP_BYTES = 8192;
const PORTS = 65536;
const IOPL_SHIFT = 12;

/** EINVAL: above 3. */
const setIopl: Entry = full({ guests: 'pv', arg: p.physdev_set_iopl }, (context, { iopl }) => {
  if (iopl > 3) return -EINVAL;
  pvCaller(context).iopl = iopl << IOPL_SHIFT;
  return 0;
});

/** EINVAL: an address in the hypervisor's range, more ports than there are. */
const setIoBitmap: Entry = full({ guests: 'pv', arg: p.physdev_set_iobitmap }, (context, { bitmap, nr_ports }) => {
  const pv = pvCaller(context);
  if (!accessOkay(pv.width, bitmap, IO_BITMAP_BYTES) || nr_ports > PORTS) return -EINVAL;
  pv.ioBitmap = { address: bitmap, ports: nr_ports };
  return 0;
});

/** The physical interrupt controllers belong to the control domain: EFAULT, then EPERM. */
const controlDomainOnly = <A>(arg: Type<A>): Entry => full({ guests: 'pv', arg }, () => -EPERM);

export const physdevOp = hypercall(__HYPERVISOR_physdev_op, 'xen:public/physdev.h', {
  [p.PHYSDEVOP_set_iopl]: setIopl,
  [p.PHYSDEVOP_set_iobitmap]: setIoBitmap,
  [p.PHYSDEVOP_apic_read]: controlDomainOnly(p.physdev_apic),
  [p.PHYSDEVOP_apic_write]: controlDomainOnly(p.physdev_apic),
  [p.PHYSDEVOP_alloc_irq_vector]: controlDomainOnly(p.physdev_irq),
  [p.PHYSDEVOP_map_pirq]: mapPirq,
  [p.PHYSDEVOP_unmap_pirq]: unmapPirq,
  /** ENOSYS; EFAULT; EINVAL: no such pirq. */
  [p.PHYSDEVOP_eoi]: needsPirqs(p.physdev_eoi, () => -EINVAL),
  [p.PHYSDEVOP_irq_status_query]: needsPirqs(p.physdev_irq_status_query, () => -EINVAL),
  [p.PHYSDEVOP_get_free_pirq]: needsPirqs(p.physdev_get_free_pirq, () => -EINVAL),
});
