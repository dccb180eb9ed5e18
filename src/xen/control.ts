/**
 * What a tool stack may ask of the hypervisor: create a domain, fill its memory, set its registers and parameters, share event channels
 * with it, run it, and learn why it stopped. The tool stack reaches guests only through this and through shared pages.
 */

import { GNTTAB_NR_RESERVED_ENTRIES, GTF_permit_access, grant_entry_v1 } from '../abi/xen/grant-table.ts';
import { HVM_NR_PARAMS, HVM_PARAM_TIMER_MODE } from '../abi/xen/hvm.ts';
import { encode } from '../abi/xen/struct.ts';
import { gfn as asGfn, type Gfn, type Port } from '../base/int.ts';
import * as STATE from '../cpu/state.ts';
import type { MemoryMapEntry, Shutdown } from './domain.ts';
import { connectService } from './evtchn/host.ts';
import { type MachineConfig, XenMachine } from './machine.ts';
import type { PvControl } from './pv/pv-control.ts';
import type { RunLimit, Stop } from './scheduler.ts';
import { softReset } from './soft-reset.ts';
import { VPF_down } from './vcpu.ts';

const PAGE = 4096;

/** Attributes as in vcpu_hvm_context: type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11. The limit is in bytes. */
export interface EntrySegment {
  readonly base: number;
  readonly limit: number;
  readonly attributes: number;
}

/** State of vCPU 0 at entry: 32-bit; registers not named are zero. */
export interface EntryState {
  readonly eip: number;
  readonly ebx: number;
  readonly eflags: number;
  readonly cr0: number;
  readonly cs: EntrySegment;
  readonly ds: EntrySegment;
  readonly es: EntrySegment;
  readonly ss: EntrySegment;
  readonly tr: EntrySegment;
}

export class Control {
  readonly machine: XenMachine;
  /** Ports of the domain and their other ends. */
  private readonly ends = new Map<Port, Port>();

  constructor(config: MachineConfig) {
    this.machine = new XenMachine(config);
  }

  /** Gives the domain RAM at page-aligned guest-physical addresses. Frames that have RAM already keep it. */
  populate(range: { readonly start: number; readonly size: number }): void {
    const { p2m } = this.machine.domain;
    if (!p2m.populateRange(range.start / PAGE, range.size / PAGE))
      throw new RangeError(
        `no memory for guest address 0x${range.start.toString(16)} (${p2m.totalPages} of ${p2m.maxPages} pages)`,
      );
  }

  /** Writes guest-physical memory; all of it must be populated. */
  write(gpa: number, bytes: Uint8Array): void {
    if (!this.machine.memory.writePhysical(gpa, bytes))
      throw new RangeError(`no memory at guest address 0x${gpa.toString(16)}`);
    this.machine.memory.onRemap();
  }

  /** Reads guest-physical memory; false when part of it is not there (it reads as ones). */
  read(gpa: number, into: Uint8Array): boolean {
    return this.machine.memory.readPhysical(gpa, into);
  }

  /** What XENMEM_memory_map answers. Addresses and sizes in bytes. */
  setMemoryMap(map: readonly { readonly start: number; readonly size: number; readonly type: number }[]): void {
    this.machine.domain.memoryMap = map.map(
      ({ start, size, type }): MemoryMapEntry => ({ addr: BigInt(start), size: BigInt(size), type }),
    );
  }

  /** Loads vCPU 0 and brings it online. The domain runs when {@link run} is called. */
  setEntry(entry: EntryState): void {
    const [vcpu] = this.machine.domain.vcpus;
    const [cpu] = this.machine.cpus;
    cpu.reset();
    for (const register of [STATE.RDX, STATE.RAX]) cpu.set64(STATE.gpr(register), 0n);
    cpu.set64(STATE.gpr(STATE.RBX), BigInt(entry.ebx));
    cpu.set64(STATE.RIP, BigInt(entry.eip));
    cpu.set64(STATE.CR0, BigInt(entry.cr0));
    cpu.eflags = entry.eflags;
    const segments: readonly (readonly [number, EntrySegment])[] = [
      [STATE.CS, entry.cs],
      [STATE.DS, entry.ds],
      [STATE.ES, entry.es],
      [STATE.SS, entry.ss],
      [STATE.TR, entry.tr],
    ];
    for (const [n, { base, limit, attributes }] of segments) {
      cpu.setSegment(n, 0, BigInt(base), limit, (attributes & 0xff) | ((attributes & 0xf00) << 4));
    }
    for (const n of [STATE.FS, STATE.GS]) cpu.setSegment(n, 0, 0n, 0, STATE.ATTR_UNUSABLE);
    cpu.setSegment(STATE.LDTR, 0, 0n, 0, STATE.ATTR_UNUSABLE | 2);
    cpu.updateMode((entry.cs.attributes >> 5) & 3);
    vcpu.isInitialised = true;
    vcpu.clearPauseFlags(VPF_down);
  }

  /** What building a PV domain takes. Throws a RangeError for other domains. */
  get pv(): PvControl {
    const { pvControl } = this.machine;
    if (pvControl === undefined) throw new RangeError('this is not a PV domain');
    return pvControl;
  }

  /** Sets a parameter with the tool stack's rights. */
  setHvmParam(index: number, value: bigint): void {
    if (index >= HVM_NR_PARAMS) throw new RangeError(`there is no HVM parameter ${index}`);
    this.machine.domain.hvmParams[index] = value;
    if (index === HVM_PARAM_TIMER_MODE) this.machine.platform.setTimerMode(Number(value));
  }

  /** Lets the control domain use a page of a new domain by one of the references reserved for that (`xen:public/grant_table.h`). */
  grant(reference: number, gfn: Gfn): void {
    const { grants, memory } = this.machine.domain;
    const frame = grants.sharedFrame(0);
    if (frame === undefined || reference >= GNTTAB_NR_RESERVED_ENTRIES)
      throw new RangeError(`grant reference ${reference} is not reserved`);
    const bytes = memory.frameBytes(frame).subarray(reference * grant_entry_v1.size('native'));
    bytes.set(encode(grant_entry_v1, { flags: GTF_permit_access, domid: 0, frame: gfn }, 'native'));
  }

  /** A port of the domain that it shares with the control domain; `onSend` runs whenever the guest sends on it. */
  allocateChannel(onSend: () => void): Port {
    const { domain, toolstack } = this.machine;
    const { guest, toolstack: end } = connectService(domain.evtchn, toolstack, onSend);
    this.ends.set(guest, end);
    return guest;
  }

  /** Raises the guest's end of a shared port. */
  notify(port: Port): void {
    const end = this.ends.get(port);
    if (end === undefined) throw new RangeError(`port ${port} is not shared with the tool stack`);
    this.machine.toolstack.notifyPeer(end);
  }

  /** The 4096 bytes behind a frame as it is now, or undefined. */
  page(gfn: Gfn): Uint8Array | undefined {
    const { p2m, memory } = this.machine.domain;
    const frame = p2m.frameAt(asGfn(gfn));
    return frame === 0 ? undefined : memory.frameBytes(frame);
  }

  /**
   * Lets a domain that shut down for a soft reset go on, without its ties to the hypervisor. Shared ports are gone: allocate them again. False:
   * that was not its reason, or it crashed on the way.
   */
  softReset(): boolean {
    if (softReset(this.machine.domain) !== 0) return false;
    for (const end of this.ends.values()) this.machine.toolstack.close(end, false);
    this.ends.clear();
    return true;
  }

  /** Bytes the guest writes with console_io, where its rules allow that. */
  onConsoleOutput(output: (bytes: Uint8Array) => void): void {
    this.machine.domain.onConsoleOutput = output;
  }

  /** Bytes the guest writes to port 0xe9. */
  onDebugOutput(output: (bytes: Uint8Array) => void): void {
    this.machine.domain.onDebugOutput = output;
  }

  /** Runs until the domain shuts down, nothing can run any more, or a limit is reached. */
  run(limit: RunLimit = {}): Stop {
    return this.machine.scheduler.run(limit);
  }

  /** Ends the present {@link run} soon. */
  interrupt(): void {
    this.machine.scheduler.interrupt();
  }

  get shutdown(): Shutdown | undefined {
    return this.machine.domain.shutdownState;
  }
}

export type { MachineConfig } from './machine.ts';
export { DEFAULT_VERSION, RULES, Rules, VERSIONS } from './rules.ts';
export type { RunLimit, SchedulerOptions, Stop, StopPoint } from './scheduler.ts';
