/** Counts what makes a guest leave compiled code, and where its instructions are. Reads no clock: a profile is the same in every run. */
import { type Cpu, type CpuProbe, STATUS } from '../../cpu/index.ts';
import type { XenMachine } from '../../xen/index.ts';
import { callName } from '../trace/line.ts';

/** Something counted, most frequent first in every list. */
export interface Count {
  readonly what: string;
  readonly count: number;
}

export interface Profile {
  readonly instructions: number;
  /** Why compiled code was left. */
  readonly exits: readonly Count[];
  /** Instructions that a TypeScript routine ran. */
  readonly routines: readonly Count[];
  /** Exceptions delivered, by vector. */
  readonly exceptions: readonly Count[];
  readonly hypercalls: readonly Count[];
  /** Accesses to devices, by port and by guest-physical page. */
  readonly ports: readonly Count[];
  readonly mmio: readonly Count[];
  /** Accesses of compiled code that the TLB did not answer. */
  readonly tlbMisses: { readonly reads: number; readonly writes: number };
  readonly code: {
    readonly recordsMade: number;
    readonly lookups: number;
    readonly regionsMade: number;
    readonly regionKib: number;
    readonly regionsLive: number;
    readonly regionsHit: number;
    readonly regionsEvicted: number;
    readonly storesThatHitCode: number;
    readonly pagesDropped: number;
    readonly blocksReused: number;
    readonly flushes: number;
  };
  /** Where the vCPUs were when looked at, every so many instructions: linear addresses. */
  readonly places: readonly Count[];
}

const EXITS: Readonly<Record<number, string>> = {
  [STATUS.EXIT_BUDGET]: 'end of the slice',
  [STATUS.EXIT_LOOKUP]: 'look-up',
  [STATUS.EXIT_LEAVE]: 'an instruction asked for it',
  [STATUS.EXIT_FAULT]: 'fault',
  [STATUS.EXIT_CALL]: 'routine',
  [STATUS.EXIT_HOT]: 'translation',
};

const SLOW_READS = 0x100;

class Counter {
  private readonly counts = new Map<string | number, number>();

  add(what: string | number): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  list(name: (what: string | number) => string = String): Count[] {
    return [...this.counts]
      .map(([what, count]) => ({ what: name(what), count }))
      .sort((a, b) => b.count - a.count || (a.what < b.what ? -1 : 1));
  }
}

const hex = (what: string | number | bigint): string => `0x${what.toString(16)}`;

export class Profiler {
  private readonly exits = new Counter();
  private readonly routines = new Counter();
  private readonly exceptions = new Counter();
  private readonly hypercalls = new Counter();
  private readonly ports = new Counter();
  private readonly mmio = new Counter();
  private readonly places = new Counter();
  private reads = 0;
  private writes = 0;
  private readonly machine: XenMachine;

  /** Attaches to a machine that has not run yet. */
  constructor(machine: XenMachine) {
    this.machine = machine;
    const probe: CpuProbe = {
      left: (cpu, exit) => this.left(cpu, exit),
      exception: (_, vector) => this.exceptions.add(vector),
      missed: (_, descriptor) => {
        if ((descriptor & SLOW_READS) === 0) this.reads++;
        else this.writes++;
      },
    };
    for (const cpu of machine.cpus) cpu.probe = probe;
    machine.table.onHypercall = (trace) => this.hypercalls.add(callName(trace));
    machine.platform.ports.onAccess = (port) => this.ports.add(port);
    machine.platform.mmio.onAccess = (address) => this.mmio.add(address - (address % 4096));
  }

  private left(cpu: Cpu, exit: number): void {
    this.exits.add(exit);
    if (exit === STATUS.EXIT_CALL) this.routines.add(cpu.code.insnOf(cpu.record).row.name);
  }

  /** Notes where the vCPU is that runs next; call it between stretches of equal length. */
  sample(): void {
    const { scheduler } = this.machine;
    const vcpu = scheduler.currentVcpu ?? this.machine.domain.vcpus[0];
    this.places.add(hex(this.machine.cpus[vcpu.id].linearRip));
  }

  result(): Profile {
    const { counts, live } = this.machine.code;
    return {
      instructions: this.machine.scheduler.instructions,
      exits: this.exits.list((exit) => EXITS[Number(exit)] ?? String(exit)),
      routines: this.routines.list(),
      exceptions: this.exceptions.list(),
      hypercalls: this.hypercalls.list(),
      ports: this.ports.list(hex),
      mmio: this.mmio.list(hex),
      tlbMisses: { reads: this.reads, writes: this.writes },
      code: {
        recordsMade: counts.records,
        lookups: counts.lookups,
        regionsMade: counts.regions,
        regionKib: Math.round(counts.regionBytes / 1024),
        regionsLive: live.regions,
        regionsHit: counts.regionsHit,
        regionsEvicted: counts.regionsEvicted,
        storesThatHitCode: counts.hits,
        pagesDropped: counts.pagesDropped,
        blocksReused: counts.evicted,
        flushes: counts.flushes,
      },
      places: this.places.list(),
    };
  }
}
