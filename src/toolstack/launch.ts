/** Brings a built domain to life through what a hypervisor offers its tool stack, and serves its rings. */
import type { Gfn, Port } from '../base/int.ts';
import type { DomainImage, EntryContext, MemoryRegion, PhysicalRange } from './build/image.ts';
import type { PvImage } from './build/pv-image.ts';
import { Console } from './console/console.ts';
import { type PvControl, placePv } from './launch-pv.ts';
import { fillDomainNodes } from './xenstore/domain-nodes.ts';
import { RingServer } from './xenstore/ring-server.ts';
import { Store } from './xenstore/store.ts';

const HVM_PARAM_STORE_EVTCHN = 2;
const HVM_PARAM_CONSOLE_EVTCHN = 18;
/** Grant references that hold the pages of console and store from the start (`xen:public/grant_table.h`). */
const GNTTAB_RESERVED_CONSOLE = 0;
const GNTTAB_RESERVED_XENSTORE = 1;

/** What a tool stack asks of the hypervisor about one domain. Physical addresses are the guest's, in bytes. */
export interface DomainControl {
  populate(range: PhysicalRange): void;
  write(gpa: number, bytes: Uint8Array): void;
  setMemoryMap(map: readonly MemoryRegion[]): void;
  /** Registers of vCPU 0, which is online afterwards. */
  setEntry(entry: EntryContext): void;
  setHvmParam(index: number, value: bigint): void;
  /** Lets the control domain use a page by a reserved grant reference. */
  grant(reference: number, gfn: Gfn): void;
  /** A port of the domain that it shares with the control domain. `onSend` runs whenever the guest sends on it. */
  allocateChannel(onSend: () => void): Port;
  /** Raises the guest's end of a shared port. */
  notify(port: Port): void;
  /** The page behind a frame as it is now, or undefined. PV: a machine frame. */
  page(gfn: Gfn): Uint8Array | undefined;
  /** What only PV domains have; throws for others. */
  readonly pv: PvControl;
}

export interface LaunchOptions {
  readonly domid: number;
  readonly name: string;
  readonly uuid: string;
  readonly memoryMib: number;
  readonly maxMemoryMib: number;
  /** What the guest wrote to its console. */
  readonly output: (bytes: Uint8Array) => void;
}

export interface Services {
  readonly store: Store;
  /** Types at the guest's console. */
  input(bytes: Uint8Array): void;
  /** After a soft reset: gives the guest its ports for store and console anew; watches and transactions are gone. */
  reconnect(): void;
  /**
   * Writes a node below the guest's home in XenStore as the control domain. So xl tells guests to take vCPUs off and online (`cpu/N/availability`,
   * `offline` or `online`), or to shut down (`control/shutdown`).
   */
  writeNode(path: string, value: string): void;
  /** Looks at both rings without being asked: once more at the end of a run, and for guests that do not notify. */
  service(): void;
}

/** A domain ready to be loaded, translated or PV. */
export type GuestImage = DomainImage | PvImage;

/** Bytes of RAM that a new domain owns. */
export const ramBytes = (image: GuestImage): number =>
  'populate' in image ? image.populate.reduce((sum, range) => sum + range.size, 0) : image.pages * 4096;

/** A domain whose memory is filled but for its ports. */
export interface Placed {
  readonly storeGfn: Gfn;
  readonly consoleGfn: Gfn;
  /** Tells the guest the ports of its store and console. */
  setPorts(store: Port, console: Port): void;
  /** Sets the registers of the first vCPU. */
  start(): void;
}

/** Loads the image, sets everything up as xl does and leaves the domain ready to be unpaused. */
export function launch(control: DomainControl, image: GuestImage, options: LaunchOptions): Services {
  const placed = 'populate' in image ? placeTranslated(control, image) : placePv(control, image, options);
  control.grant(GNTTAB_RESERVED_CONSOLE, placed.consoleGfn);
  control.grant(GNTTAB_RESERVED_XENSTORE, placed.storeGfn);

  const store = new Store();
  const xenstore = new RingServer(store, options.domid, () => control.page(placed.storeGfn));
  const terminal = new Console({ page: () => control.page(placed.consoleGfn), output: options.output });
  const serveStore = (): void => {
    if (xenstore.service()) control.notify(storePort);
  };
  const serveConsole = (): void => {
    if (terminal.service()) control.notify(consolePort);
  };
  /** Store first, so that the ports are 1 and 2 as with xl. */
  const connect = (): [store: Port, console: Port] => {
    const ports: [Port, Port] = [control.allocateChannel(serveStore), control.allocateChannel(serveConsole)];
    placed.setPorts(...ports);
    return ports;
  };
  let [storePort, consolePort] = connect();
  fillDomainNodes(store, {
    domid: options.domid,
    name: options.name,
    uuid: options.uuid,
    type: image.type === 'pv64' || image.type === 'pv32' ? 'pv' : image.type,
    memoryMib: options.memoryMib,
    maxMemoryMib: options.maxMemoryMib,
    vcpus: image.vcpus,
    maxVcpus: image.maxVcpus,
    storeGfn: placed.storeGfn,
    storePort,
    consoleGfn: placed.consoleGfn,
    consolePort,
  });
  placed.start();
  return {
    store,
    input: (bytes) => {
      terminal.input(bytes);
      serveConsole();
    },
    reconnect: () => {
      xenstore.forget();
      [storePort, consolePort] = connect();
      store.apply((view) => {
        view.write(`/local/domain/${options.domid}/store/port`, String(storePort), 0);
        view.write(`/local/domain/${options.domid}/console/port`, String(consolePort), 0);
      });
    },
    writeNode: (path, value) => {
      store.apply((view) => view.write(`/local/domain/${options.domid}/${path}`, value, 0));
      serveStore();
    },
    service: () => {
      serveStore();
      serveConsole();
    },
  };
}

/** HVM and PVH: pages at guest frames, parameters for what the guest must be told. */
function placeTranslated(control: DomainControl, image: DomainImage): Placed {
  for (const range of image.populate) control.populate(range);
  for (const { gpa, bytes } of image.writes) control.write(gpa, bytes);
  control.setMemoryMap(image.memoryMap);
  for (const [index, value] of image.hvmParams) control.setHvmParam(index, value);
  return {
    storeGfn: image.storeGfn,
    consoleGfn: image.consoleGfn,
    setPorts: (store, console) => {
      control.setHvmParam(HVM_PARAM_STORE_EVTCHN, BigInt(store));
      control.setHvmParam(HVM_PARAM_CONSOLE_EVTCHN, BigInt(console));
    },
    start: () => control.setEntry(image.entry),
  };
}
