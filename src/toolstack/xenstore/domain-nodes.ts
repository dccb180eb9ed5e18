/** Nodes that xl writes when it makes a domain (`xen:misc/xenstore-paths.pandoc`). */
import type { Store, View } from './store.ts';
import type { Permission } from './tree.ts';

export interface DomainNodes {
  readonly domid: number;
  readonly name: string;
  /** Canonical text form. */
  readonly uuid: string;
  readonly type: 'pv' | 'pvh' | 'hvm';
  readonly memoryMib: number;
  readonly maxMemoryMib: number;
  readonly vcpus: number;
  readonly maxVcpus: number;
  /** Shared pages and event channels of the guest's store and console. */
  readonly storeGfn: number;
  readonly storePort: number;
  readonly consoleGfn: number;
  readonly consolePort: number;
}

/** Writes /local/domain/N and /vm/UUID as the control domain. The guest reads its directory and owns the parts meant for it. */
export function fillDomainNodes(store: Store, domain: DomainNodes): void {
  store.apply((view) => {
    const home = `/local/domain/${domain.domid}`;
    const vm = `/vm/${domain.uuid}`;
    const readable: readonly Permission[] = [
      { domid: 0, access: 'n' },
      { domid: domain.domid, access: 'r' },
    ];
    const owned: readonly Permission[] = [{ domid: domain.domid, access: 'n' }];
    directory(view, vm, readable);
    directory(view, home, readable);
    for (const name of ['cpu', 'memory', 'device', 'control', ...(domain.type === 'hvm' ? ['hvmloader'] : [])]) {
      directory(view, `${home}/${name}`, readable);
    }
    for (const name of OWNED) directory(view, `${home}/${name}`, owned);
    for (const [path, value] of values(domain, vm)) view.write(`${home}/${path}`, value, 0);
    view.write(`${vm}/uuid`, domain.uuid, 0);
    view.write(`${vm}/name`, domain.name, 0);
  });
}

const OWNED = [
  'control/shutdown',
  'control/feature-poweroff',
  'control/feature-reboot',
  'control/feature-suspend',
  'control/sysrq',
  'device/suspend/event-channel',
  'data',
  'drivers',
  'feature',
  'attr',
  'error',
];

function directory(view: View, path: string, permissions: readonly Permission[]): void {
  view.mkdir(path, 0);
  view.setPermissions(path, permissions, 0);
}

function* values(domain: DomainNodes, vm: string): Generator<readonly [string, string]> {
  yield ['vm', vm];
  yield ['name', domain.name];
  yield ['domid', String(domain.domid)];
  yield ['memory/static-max', String(domain.maxMemoryMib * 1024)];
  yield ['memory/target', String(domain.memoryMib * 1024)];
  yield ['memory/videoram', '0'];
  yield ['store/port', String(domain.storePort)];
  yield ['store/ring-ref', String(domain.storeGfn)];
  for (let id = 0; id < domain.maxVcpus; id++)
    yield [`cpu/${id}/availability`, id < domain.vcpus ? 'online' : 'offline'];
  yield ['control/platform-feature-multiprocessor-suspend', '1'];
  yield ['control/platform-feature-xs_reset_watches', '1'];
  yield ['console/backend', `/local/domain/0/backend/console/${domain.domid}/0`];
  yield ['console/backend-id', '0'];
  yield ['console/limit', '1048576'];
  yield ['console/type', 'xenconsoled'];
  yield ['console/output', 'pty'];
  yield ['console/tty', ''];
  yield ['console/port', String(domain.consolePort)];
  yield ['console/ring-ref', String(domain.consoleGfn)];
  if (domain.type === 'hvm') yield ['hvmloader/bios', 'seabios'];
}
