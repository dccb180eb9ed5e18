/**
 * What the tool stack does after SHUTDOWN_soft_reset: the domain loses its ties to the hypervisor and goes on where it was, so that a kernel
 * started by kexec can register everything afresh. Register state is not touched; the guest returns from its shutdown call with 0.
 * `xen:public/sched.h#SHUTDOWN_soft_reset`
 */
import { EINVAL } from '../abi/xen/errno.ts';
import { SHUTDOWN_soft_reset } from '../abi/xen/sched.ts';
import type { Domain } from './domain.ts';

/** EINVAL: the domain has not shut down for a soft reset; PV (which crashes it); EAGAIN: a channel stays open. */
export function softReset(domain: Domain): number {
  if (domain.shutdownState?.reason !== SHUTDOWN_soft_reset) return -EINVAL;
  const rc = domain.evtchn.closeAll();
  if (rc !== 0) return rc;
  domain.info.unmapAll();
  if (!domain.isHvm) {
    domain.resume();
    domain.crash('soft reset of a PV domain');
    return -EINVAL;
  }
  const { p2m } = domain;
  const gfn = p2m.gfnOfSpecial(domain.sharedInfo);
  if (gfn !== undefined) {
    p2m.unhook(gfn);
    p2m.populate(gfn);
  }
  domain.resume();
  return 0;
}
