/** Puts together the parts of a domain that guests and the hypervisor share: areas, events, upcalls, grants. */
import type { Domain } from './domain.ts';
import { EventChannels } from './evtchn/event-channels.ts';
import type { FindEvents } from './evtchn/host.ts';
import { eventHost } from './evtchn/host.ts';
import { Upcalls } from './evtchn/upcall.ts';
import { GrantTable } from './grant/grant-table.ts';
import { GuestInfo } from './info/guest-info.ts';

export interface Neighbours {
  readonly events: FindEvents;
  /** Grant table of another domain that may be named in grant operations. */
  grants(domid: number): GrantTable | undefined;
}

const alone: Neighbours = { events: () => undefined, grants: () => undefined };

/** Called once, before any guest code runs. */
export function attachGuestInterfaces(domain: Domain, neighbours: Neighbours = alone): void {
  const { config, rules } = domain;
  domain.info = new GuestInfo(domain);
  domain.upcalls = new Upcalls(domain);
  domain.evtchn = new EventChannels(eventHost(domain, neighbours.events), {
    domid: domain.id,
    maxPort: config.maxEventChannels,
    globalVirqsRefused: rules.has('global-virq-handler-only'),
    pirqs: config.pirqs ? 48 : 0,
  });
  domain.grants = new GrantTable(domain, (domid) => neighbours.grants(domid));
}
