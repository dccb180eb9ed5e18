/** Interfaces of the control domain, as an ordinary guest finds them: structure, version, domain, then permission. */
import { EACCES, EINVAL, ENODEV, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as a from '../../abi/xen/misc.ts';
import * as x from '../../abi/xen/xen.ts';
import { absent, full, hypercall, partial } from '../hypercall.ts';

/** The one domctl that does not depend on the interface version. `xen:public/domctl.h` */
const XEN_DOMCTL_get_domain_state = 90;
/** Last operation of xenoprof_op, and those a guest without privilege could reach. `xen:public/xenoprof.h` */
const XENOPROF_last_op = 17;
const XENOPROF_init = 0,
  XENOPROF_enable_virq = 8,
  XENOPROF_disable_virq = 11,
  XENOPROF_get_buffer = 14;
const XENOPROF_UNPRIVILEGED: ReadonlySet<number> = new Set([
  XENOPROF_enable_virq,
  XENOPROF_disable_virq,
  XENOPROF_get_buffer,
]);

/** Domctls that do not name an existing domain first. */
const withoutDomain: ReadonlySet<number> = new Set([a.XEN_DOMCTL_createdomain]);

/** EFAULT; EACCES: interface version; EPERM. */
export const sysctl = hypercall(
  x.__HYPERVISOR_sysctl,
  'xen:public/sysctl.h',
  full({ guests: 'all', arg: a.xen_sysctl }, ({ domain }, op) =>
    op.interface_version !== Number(domain.rules.get('sysctl-interface')) ? -EACCES : -EPERM,
  ),
);

/** EFAULT; EACCES: interface version; ESRCH: no such domain; EPERM. */
export const domctl = hypercall(
  x.__HYPERVISOR_domctl,
  'xen:public/domctl.h',
  full({ guests: 'all', arg: a.xen_domctl }, ({ domain }, op) => {
    const stable = op.cmd === XEN_DOMCTL_get_domain_state && domain.rules.has('domctl-stable-get-domain-state');
    const version = stable ? 0 : Number(domain.rules.get('domctl-interface'));
    if (op.interface_version !== version) return -EACCES;
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
    /** EINVAL: operation; EPERM: privileged operation; ENODEV: nothing to profile with. */
    partial('performance counters do not exist', { guests: 'pv', rule: 'xenoprof' }, ({ args }) => {
      const op = Number(BigInt.asIntN(32, args[0]));
      if (op < 0 || op > XENOPROF_last_op) return -EINVAL;
      if (op === XENOPROF_init) return -ENODEV;
      return XENOPROF_UNPRIVILEGED.has(op) ? -ENODEV : -EPERM;
    }),
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
