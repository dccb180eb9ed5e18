/** One guest in a machine of its own: an image and options go in, its console and the reason of its end come out. The library's front door. */

import {
  BadInput,
  buildHvm,
  buildPv,
  buildPvh,
  type Decompress,
  type GuestImage,
  hasPvEntry,
  launch,
  openKernel,
  ramBytes,
  type Services,
} from '../../toolstack/index.ts';
import type { InterpreterModules } from '../../xen/index.ts';
import {
  type AreaAccess,
  Control,
  DEFAULT_VERSION,
  type HypercallTrace,
  type MachineConfig,
  Rules,
  type RunLimit,
  type SchedulerOptions,
  type Stop,
  type Version,
} from '../../xen/index.ts';
import { machineDigest } from './digest.ts';

const MIB = 1024 * 1024;
const DEFAULT_MEMORY_MIB = 128;
/** What a domain may own beyond what it starts with. */
const SPARE_BYTES = MIB;
const DEFAULT_UUID = '00000000-0000-4000-8000-000000000001';
/** 2024-01-01 UTC at system time 0: runs do not depend on the day. */
const WALLCLOCK_BASE = 1_704_067_200n * 1_000_000_000n;

export interface MachineOptions {
  /** `pvh`, `pv`, or `hvm` for an image that is its own firmware. Without it the kernel's notes decide, PVH before PV. */
  readonly type?: 'pv' | 'pvh' | 'hvm';
  /** Release of Xen whose rules apply, and rules that differ from it. */
  readonly xen?: Version;
  readonly set?: Readonly<Record<string, string>>;
  /** In MiB. */
  readonly memory?: number;
  /** 1 to 128, for PV to 8192; all exist from the start, all but the first are down. */
  readonly vcpus?: number;
  readonly cmdline?: string;
  readonly modules?: readonly Uint8Array[];
  readonly engine?: NonNullable<MachineConfig['engine']>;
  /** The debugging prefix of the hypervisor's instruction emulator works. */
  readonly forcedEmulation?: boolean;
  /** `arm`: vcpu_op answers as on Arm, where it passes two operations and refuses the rest. */
  readonly vcpuOps?: 'x86' | 'arm';
  /** How vCPUs take turns. */
  readonly schedule?: Partial<SchedulerOptions>;
  /** The interpreter's modules, which machines can share (`interpreterModules()` of xenolith/cpu); without them each builds its own. */
  readonly interpreter?: InterpreterModules;
  /** Unpacks kernels that are compressed otherwise than the project can by itself. */
  readonly decompress?: Decompress;
  /** Bytes the guest wrote to its console, when they arrive. */
  readonly onConsole?: (bytes: Uint8Array) => void;
  /** Called after every hypercall. */
  readonly onHypercall?: (trace: HypercallTrace) => void;
  /** Called at every access of the hypervisor to a vcpu_info, runstate or time area. */
  readonly onAccess?: (access: AreaAccess) => void;
}

/**
 * A guest with its hypervisor, hardware and tool stack. The same image and options give the same run, to the byte.
 * Throws an error named BadInput for an image or a size that cannot be used, and RangeError for rules that do not exist.
 */
export class Machine {
  /** Everything underneath: domain, vCPUs, memory, scheduler, hypercall table. */
  readonly control: Control;
  private readonly services: Services;
  private readonly executed: number[];
  private readonly printed: Uint8Array[] = [];
  private counted = 0;
  private current = 0;

  constructor(image: Uint8Array, options: MachineOptions = {}) {
    const { memory = DEFAULT_MEMORY_MIB, vcpus = 1 } = options;
    const built = build(image, options, memory, vcpus);
    this.control = new Control(configOf(built, options));
    this.executed = new Array<number>(vcpus).fill(0);
    const { domain, scheduler, table } = this.control.machine;
    table.onHypercall = options.onHypercall;
    domain.info.access.onAccess = options.onAccess;
    scheduler.onSlice = (vcpu) => {
      this.count();
      this.current = vcpu.id;
    };
    this.services = launch(this.control, built, {
      domid: domain.id,
      name: 'guest',
      uuid: DEFAULT_UUID,
      memoryMib: memory,
      maxMemoryMib: memory,
      output: (bytes) => {
        this.printed.push(Uint8Array.from(bytes));
        options.onConsole?.(bytes);
      },
    });
  }

  /** Runs until the guest shuts down, nothing can ever run again, or a limit is reached; may be called again after a limit. */
  run(limit: RunLimit = {}): Stop {
    const stop = this.control.run(limit);
    this.services.service();
    return stop;
  }

  /** Types at the guest's console. */
  input(text: string): void {
    this.services.input(new TextEncoder().encode(text));
  }

  /** Writes a XenStore node below the guest's home as the control domain, for example `cpu/1/availability`: `offline` or `online`. */
  writeNode(path: string, value: string): void {
    this.services.writeNode(path, value);
  }

  /** What the guest printed so far. */
  get console(): string {
    return new TextDecoder().decode(Uint8Array.from(this.printed.flatMap((piece) => [...piece])));
  }

  /** Guest instructions executed by all vCPUs. */
  get instructions(): number {
    return this.control.machine.scheduler.instructions;
  }

  /** Guest instructions executed by each vCPU. */
  get vcpuInstructions(): readonly number[] {
    this.count();
    return this.executed;
  }

  /** Guest time in nanoseconds. */
  get time(): bigint {
    return this.control.machine.time.now();
  }

  /** SHA-256 of everything the guest could see: registers of all vCPUs and memory. Equal runs have equal digests, whatever the engine. */
  digest(): string {
    return machineDigest(this.control.machine);
  }

  private count(): void {
    this.executed[this.current] += this.instructions - this.counted;
    this.counted = this.instructions;
  }
}

function build(image: Uint8Array, options: MachineOptions, memoryMib: number, vcpus: number): GuestImage {
  const kernel = openKernel(image, options.decompress ?? (() => undefined));
  const common = { memoryMib, maxVcpus: vcpus, vcpus, modules: (options.modules ?? []).map((bytes) => ({ bytes })) };
  if (options.type === 'hvm') return buildHvm({ firmware: kernel, ...common });
  const input = { kernel, ...common, ...(options.cmdline === undefined ? {} : { cmdline: options.cmdline }) };
  const type = options.type ?? (kernel.pvhEntry === undefined && hasPvEntry(kernel) ? 'pv' : 'pvh');
  return type === 'pv' ? buildPv(input) : buildPvh(input);
}

function configOf(image: GuestImage, options: MachineOptions): MachineConfig {
  const populated = ramBytes(image);
  if (populated > 4000 * MIB) throw new BadInput('memory', 'a guest can have at most 4000 MiB');
  return {
    type: image.type,
    maxVcpus: image.maxVcpus,
    maxMemory: populated + SPARE_BYTES,
    rules: new Rules(options.xen ?? DEFAULT_VERSION, options.set),
    uuid: Uint8Array.from(DEFAULT_UUID.replaceAll('-', '').match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
    wallclockBase: WALLCLOCK_BASE,
    forcedEmulation: options.forcedEmulation ?? false,
    engine: options.engine ?? 'auto',
    vcpuOps: options.vcpuOps ?? 'x86',
    ...(options.schedule === undefined ? {} : { schedule: options.schedule }),
    ...(options.interpreter === undefined ? {} : { interpreter: options.interpreter }),
  };
}
