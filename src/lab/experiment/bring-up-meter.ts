/**
 * Measures the start of vCPUs by executing one instruction at a time between two markers of the guest: hypercalls
 * xen_version(XENVER_pagesize), whose argument nobody reads, with the number 1 before the first step and 2 after the last one of the
 * starting vCPU. A start is complete when the started vCPU is about to execute its first instruction in the mode its guest works in.
 *
 * The first pair of markers in a run encloses nothing; what it costs is taken off the others.
 */
import { __HYPERVISOR_xen_version } from '../../abi/xen/xen.ts';
import * as STATE from '../../cpu/state.ts';
import type { Control, HypercallTrace, Vcpu } from '../../xen/index.ts';

const XENVER_pagesize = 7n;
const BEGIN = 1n;
const END = 2n;
/** Steps after which a start is given up. */
const TOO_LONG = 1_000_000;
/** WRMSR: 0f 30. */
const WRMSR = 0x300f;
const ATTR_CODE32 = 0x4000;

export type Mode = 'real' | 'protected 16' | 'protected 32' | 'compatibility' | '64-bit';

export interface BringUp {
  /** vCPU started; 0 when none was. */
  readonly vcpu: number;
  /** Instructions of the starting vCPU, and of the started one until its first in the guest's mode. */
  readonly starter: number;
  readonly started: number;
  readonly hypercalls: number;
  /** WRMSR instructions of the starting vCPU: it reaches its local APIC so. */
  readonly apicWrites: number;
  /** Modes the started vCPU went through. */
  readonly modes: readonly Mode[];
}

interface Counts {
  vcpu: number;
  starter: number;
  started: number;
  hypercalls: number;
  apicWrites: number;
  modes: Mode[];
  sent: boolean;
  arrived: boolean;
}

export class BringUpMeter {
  readonly results: BringUp[] = [];
  private readonly control: Control;
  private readonly target: Mode;
  private current: Counts | undefined;
  private overhead: BringUp | undefined;

  constructor(control: Control, target: Mode) {
    this.control = control;
    this.target = target;
    control.machine.table.onHypercall = (trace) => this.onHypercall(trace);
  }

  /** A start is under way: call {@link measure}. */
  get wanted(): boolean {
    return this.current !== undefined;
  }

  /** Executes instruction by instruction until the start is complete. */
  measure(): void {
    const { scheduler } = this.control.machine;
    const outer = scheduler.onSlice;
    scheduler.onSlice = (vcpu, budget) => {
      outer?.(vcpu, budget);
      this.step(vcpu);
    };
    for (let steps = 0; this.current !== undefined && steps < TOO_LONG; steps++) {
      if (this.control.run({ instructions: 1 }).kind !== 'paused') break;
      if (this.current.sent && (this.current.arrived || this.overhead === undefined)) this.finish(this.current);
    }
    scheduler.onSlice = outer;
    this.current = undefined;
  }

  private finish({ vcpu, starter, started, hypercalls, apicWrites, modes }: Counts): void {
    const { overhead } = this;
    const result = { vcpu, starter: starter - (overhead?.starter ?? 0), started, hypercalls, apicWrites, modes };
    if (overhead === undefined) this.overhead = result;
    else this.results.push(result);
    this.current = undefined;
  }

  private onHypercall({ context }: HypercallTrace): void {
    const isMarker = context.number === __HYPERVISOR_xen_version && context.args[0] === XENVER_pagesize;
    if (isMarker && context.args[1] === BEGIN) {
      this.current = {
        vcpu: 0,
        starter: 0,
        started: 0,
        hypercalls: 0,
        apicWrites: 0,
        modes: [],
        sent: false,
        arrived: false,
      };
      this.control.interrupt();
    } else if (this.current !== undefined && isMarker && context.args[1] === END) this.current.sent = true;
    else if (this.current !== undefined && !this.current.sent) this.current.hypercalls++;
  }

  /** Before each instruction. */
  private step(vcpu: Vcpu): void {
    const counts = this.current;
    if (counts === undefined) return;
    if (vcpu.id === 0) {
      if (counts.sent) return;
      counts.starter++;
      if (opcode(vcpu) === WRMSR) counts.apicWrites++;
      return;
    }
    if (counts.arrived) return;
    counts.vcpu = vcpu.id;
    const mode = modeOf(vcpu);
    if (counts.modes.at(-1) !== mode) counts.modes.push(mode);
    if (mode === this.target) counts.arrived = true;
    else counts.started++;
  }
}

/** First two bytes of the next instruction. */
function opcode({ cpu }: Vcpu): number {
  const bytes = new Uint8Array(2);
  cpu.tryReadLinear(cpu.get64(STATE.CS_BASE) + cpu.get64(STATE.RIP), bytes);
  return bytes[0] | (bytes[1] << 8);
}

function modeOf({ cpu }: Vcpu): Mode {
  if (cpu.code64) return '64-bit';
  if (!cpu.protectedMode) return 'real';
  const wide = (cpu.get32(STATE.seg(STATE.CS) + STATE.SEG_ATTR) & ATTR_CODE32) !== 0;
  if ((cpu.get64(STATE.EFER) & 0x400n) !== 0n) return 'compatibility';
  return wide ? 'protected 32' : 'protected 16';
}
