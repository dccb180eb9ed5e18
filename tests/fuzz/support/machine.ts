/** A small machine whose own memory is watched: what a guest may not reach must be the same after a run as before. */
import assert from 'node:assert/strict';
import { STATE } from '../../../src/cpu/index.ts';
import { type InterpreterModules, interpreterModules } from '../../../src/cpu/interpret/instance.ts';
import { Control, type MachineConfig, type Stop } from '../../../src/xen/index.ts';

let interpreter: InterpreterModules | undefined;

const PAGE = 4096;
/** Bytes in front of the state blocks. */
const RESERVED = 65536;

export const MIB = 1024 * 1024;

/** A machine with `bytes` of RAM from address 0 and two vCPUs, the second never started by the tool stack. */
export function smallMachine(bytes: number, more: Partial<MachineConfig> = {}): Control {
  interpreter ??= interpreterModules();
  const control = new Control({
    type: 'hvm',
    maxVcpus: 2,
    maxMemory: bytes + 16 * PAGE,
    codeBytes: MIB,
    maxGrantFrames: 8,
    interpreter,
    ...more,
  });
  control.populate({ start: 0, size: bytes });
  return control;
}

/** Remembers what the guest must not change, and checks it. */
export class Guard {
  private readonly control: Control;
  /** A page that belongs to nobody's map. */
  private readonly foreign: number;
  private readonly reserved: Uint8Array;
  private readonly sibling: Uint8Array;

  constructor(control: Control) {
    this.control = control;
    const { memory } = control.machine;
    this.foreign = memory.allocatePage();
    assert.notEqual(this.foreign, 0);
    memory.frameBytes(this.foreign).fill(0xa5);
    this.reserved = memory.bytes.slice(0, RESERVED);
    this.sibling = this.siblingBytes().slice();
  }

  /** Registers of vCPU 1; what follows them is a cache that remapping clears. */
  private siblingBytes(): Uint8Array {
    const start = this.control.machine.memory.cpuBase + STATE.CPU_BLOCK;
    return this.control.machine.memory.bytes.subarray(start, start + STATE.TLB_SETS);
  }

  check(): void {
    const { memory, domain } = this.control.machine;
    assert.ok(
      memory.frameBytes(this.foreign).every((byte) => byte === 0xa5),
      'a page outside of the guest changed',
    );
    assert.deepEqual(memory.bytes.subarray(0, RESERVED), this.reserved, 'reserved memory changed');
    if (!domain.vcpus[1]!.isInitialised) {
      assert.deepEqual(this.siblingBytes(), this.sibling, 'registers of a vCPU that does not run changed');
    }
  }
}

/** Runs in the stretches of the command line until something ends it; the word says what. */
export function runToEnd(control: Control, instructions: number): string {
  for (let calls = 0; calls < 200; calls++) {
    const left = instructions - control.machine.scheduler.instructions;
    if (left <= 0) return 'limit';
    const stop: Stop = control.run({ instructions: left, until: 1_000_000_000n });
    if (stop.kind === 'shutdown') {
      return `shutdown ${stop.shutdown.reason}${stop.shutdown.message === undefined ? '' : ' by the hypervisor'}`;
    }
    if (stop.kind !== 'paused') return stop.kind;
  }
  return 'pauses';
}
