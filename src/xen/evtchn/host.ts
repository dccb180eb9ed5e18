/** What event channels need, answered by a domain; and the tool stack's end of the store and console channels. */
import type { DomId, Port } from '../../base/int.ts';
import type { Domain } from '../domain.ts';
import type { EventHost } from './channel.ts';
import { EventChannels } from './event-channels.ts';
import { checkPollers } from './poll.ts';

/** Finds the event channels of another domain. */
export type FindEvents = (domid: DomId) => EventChannels | undefined;

export function eventHost(domain: Domain, findDomain: FindEvents): EventHost {
  const { info } = domain;
  return {
    vcpus: domain.config.maxVcpus,
    wordBits: () => (domain.layout === 'native' ? 64 : 32),
    testPending: (port) => info.testPending(port),
    setPendingBit: (port, value) => info.setPending(port, value),
    testMask: (port) => info.testMask(port),
    setMaskBit: (port, value) => info.setMask(port, value),
    setSelector: (vcpu, bit, cause) => info.setSelector(vcpu, bit, `event_2l ${cause}`),
    markEventsPending: (vcpu) => domain.upcalls.markEventsPending(domain.vcpus[vcpu]),
    checkPollers: (port) => checkPollers(domain, port),
    holdPage: (gfn) => {
      const page = info.holds.hold(gfn);
      return typeof page === 'number' ? undefined : { frame: page.frame, view: info.holds.view(page.frame) };
    },
    releasePage: (page) => info.holds.release(page.frame),
    eventLost: () => domain.audit.count('event lost: vCPU has no FIFO control block'),
    findDomain,
  };
}

const refuse = (): never => {
  throw new RangeError('the tool stack takes notifications by callback');
};

/**
 * Event channels of the domain the tool stack is: all its ports have consumers, so it needs neither memory nor vCPUs. `bindInterdomain` with a
 * consumer connects to a port that a guest holds unbound for it.
 */
export function toolstackEvents(domid: DomId, findDomain: FindEvents, maxPort = 4095): EventChannels {
  const host: EventHost = {
    vcpus: 1,
    wordBits: () => 64,
    testPending: () => false,
    setPendingBit: () => false,
    testMask: () => false,
    setMaskBit: () => false,
    setSelector: refuse,
    markEventsPending: refuse,
    checkPollers: refuse,
    holdPage: () => undefined,
    releasePage: () => {},
    eventLost: () => {},
    findDomain,
  };
  return new EventChannels(host, { domid, maxPort, globalVirqsRefused: false });
}

/**
 * Creates a guest's port for a service of the tool stack (xenstore, console) and connects the tool stack's end: `consumer` hears the guest's
 * notifications. The guest finds its port bound interdomain.
 */
export function connectService(
  guest: EventChannels,
  toolstack: EventChannels,
  consumer: () => void,
): { guest: Port; toolstack: Port } {
  const port = guest.allocUnbound(guest.domid, toolstack.domid);
  const end = port < 0 ? port : toolstack.bindInterdomain(guest.domid, port, consumer);
  if (port < 0 || end < 0) throw new RangeError(`no event channel for a service of the tool stack: ${end}`);
  return { guest: port as Port, toolstack: end as Port };
}
