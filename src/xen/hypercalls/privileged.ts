/** Interfaces of the control domain, as an ordinary guest finds them: structure, version, domain, then permission. */
import { EACCES, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as a from '../../abi/xen/misc.ts';
import * as x from '../../abi/xen/xen.ts';
import { absent, full, hypercall } from '../hypercall.ts';

/** Domctls that do not name an existing domain first. */
const withoutDomain: ReadonlySet<number> = new Set([a.XEN_DOMCTL_createdomain]);

/** EFAULT; EACCES: interface version; EPERM. */
export const sysctl = hypercall(
  x.__HYPERVISOR_sysctl,
  'xen:public/sysctl.h',
  full({ guests: 'all', arg: a.xen_sysctl }, (_context, op) =>
    op.interface_version !== a.XEN_SYSCTL_INTERFACE_VERSION ? -EACCES : -EPERM,
  ),
);

/** EFAULT; EACCES: interface version; ESRCH: no such domain; EPERM. */
export const domctl = hypercall(
  x.__HYPERVISOR_domctl,
  'xen:public/domctl.h',
  full({ guests: 'all', arg: a.xen_domctl }, ({ domain }, op) => {
    if (op.interface_version !== a.XEN_DOMCTL_INTERFACE_VERSION) return -EACCES;
    return withoutDomain.has(op.cmd) || op.domain === domain.id || op.domain === 0 ? -EPERM : -ESRCH;
  }),
);

/** EFAULT; EACCES: interface version; EPERM. */
export const platformOp = hypercall(
  x.__HYPERVISOR_platform_op,
  'xen:public/platform.h',
  full({ guests: 'all', arg: a.xen_platform_op }, (_context, op) =>
    op.interface_version !== a.XENPF_INTERFACE_VERSION ? -EACCES : -EPERM,
  ),
);

export const unavailable = [
  hypercall(
    x.__HYPERVISOR_xsm_op,
    'xen:public/xen.h#__HYPERVISOR_xsm_op',
    full({ guests: 'all' }, () => -ENOSYS),
  ),
  hypercall(
    x.__HYPERVISOR_kexec_op,
    'xen:public/kexec.h',
    full({ guests: 'pv' }, () => -EPERM),
  ),
  hypercall(
    x.__HYPERVISOR_tmem_op,
    'xen:public/xen.h#__HYPERVISOR_tmem_op',
    full({ guests: 'all' }, () => -ENOSYS),
  ),
  hypercall(
    x.__HYPERVISOR_xenoprof_op,
    'xen:public/xen.h#__HYPERVISOR_xenoprof_op',
    absent('profiling of the hypervisor is not modelled'),
  ),
  hypercall(x.__HYPERVISOR_argo_op, 'xen:public/argo.h', absent('Argo is not built into the modelled hypervisor')),
  /** Every domain with a local APIC is refused, others because performance counters are off. */
  hypercall(
    x.__HYPERVISOR_xenpmu_op,
    'xen:public/pmu.h',
    full({ guests: 'all' }, () => -EOPNOTSUPP),
  ),
  hypercall(
    x.__HYPERVISOR_dm_op,
    'xen:public/hvm/dm_op.h',
    full({ guests: 'all' }, ({ args, domain }) =>
      Number(args[0] & 0xffffn) === domain.id || args[0] === 0n || Number(args[0] & 0xffffn) === x.DOMID_SELF
        ? -EPERM
        : -ESRCH,
    ),
  ),
  hypercall(
    x.__HYPERVISOR_hypfs_op,
    'xen:public/hypfs.h',
    full({ guests: 'all' }, () => -EPERM),
  ),
  hypercall(
    x.__HYPERVISOR_mca,
    'xen:public/arch-x86/xen-mca.h',
    full({ guests: 'pv' }, () => -EPERM),
  ),
];
