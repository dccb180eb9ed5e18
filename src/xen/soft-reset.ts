/**
 * What the tool stack does after SHUTDOWN_soft_reset: the domain loses its ties to the hypervisor and goes on where it was, so that a kernel
 * started by kexec can register everything afresh. Register state is not touched; the guest returns from its shutdown call with 0.
 * `xen:public/sched.h#SHUTDOWN_soft_reset`
 */
import { EINVAL, ENOMEM } from '../abi/xen/errno.ts';
import { SHUTDOWN_soft_reset } from '../abi/xen/sched.ts';
import type { Domain } from './domain.ts';

/** EINVAL: the domain has not shut down for a soft reset; EAGAIN: a channel stays open; EINVAL: PV; ENOMEM: no page in shared_info's place. The last two crash it. */
export function softReset(domain: Domain): number {
  if (domain.shutdownState?.reason !== SHUTDOWN_soft_reset) return -EINVAL;
  const rc = domain.evtchn.closeAll();
  if (rc !== 0) return rc;
  domain.info.unmapAll();
  if (!domain.isHvm) return failed(domain, 'soft reset of a PV domain', -EINVAL);
  const { p2m } = domain;
  const gfn = p2m.gfnOfSpecial(domain.sharedInfo);
  if (gfn !== undefined) {
    p2m.unhook(gfn);
    if (!p2m.populate(gfn)) return failed(domain, 'soft reset without memory to replace shared_info', -ENOMEM);
  }
  domain.resume();
  return 0;
}

function failed(domain: Domain, why: string, rc: number): number {
  domain.resume();
  domain.crash(why);
  return rc;
}
