/** The interpreter bound to one linear memory and the vCPUs in it. */
import type { Cpu } from '../cpu.ts';
import type { RegionCompiler } from '../decode/cache.ts';
import { HELPERS } from '../helpers.ts';
import * as S from '../state.ts';
import { buildRegion } from '../translate/region.ts';
import { buildInterpreter } from './build.ts';

/** Runs from a record (0: look RIP up) until something needs attention; an EXIT_* number. */
export type InterpreterEntry = (cpu: number, record: number) => number;

/** Delivers through a gate in the plain case (system/emitted-gates.ts); 0 when nothing was done. */
export type DeliveryEntry = (cpu: number, what: number, next: bigint, code: number) => number;

export interface Interpreter {
  readonly run: InterpreterEntry;
  /** Makes a vCPU known; its state block begins at `base`. */
  attach(cpu: Cpu): void;
  /** Translates blocks of guest code into a slot of the region table. */
  readonly compiler: RegionCompiler;
}

/** `prebuilt` is the module's bytes when they were built ahead; otherwise they are built now, which takes some tens of milliseconds. */
export const createInterpreter = (memory: WebAssembly.Memory, prebuilt?: Uint8Array<ArrayBuffer>): Interpreter => {
  const cpus: Cpu[] = [];
  let current: Cpu | undefined;
  const of = (base: number): Cpu => {
    if (current?.base !== base) current = cpus[Math.floor(base / S.CPU_BLOCK)];
    return current;
  };
  const helpers: Record<string, unknown> = {};
  HELPERS.forEach((helper, i) => {
    helpers[String(i)] = (base: number, a: number, b: number) => helper(of(base), a, b);
  });
  const imports = {
    env: {
      memory,
      slow: (base: number, descriptor: number) => of(base).mem.slow(descriptor),
      commit: (base: number) => of(base).mem.commit(),
      segment: (base: number, segment: number, offset: number, descriptor: number) =>
        of(base).mem.checkSegment(segment, offset, descriptor),
    },
    helpers,
  };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(prebuilt ?? buildInterpreter()), imports);
  const regions = instance.exports['regions'] as WebAssembly.Table;
  // Regions that miss an inline TLB lookup call the interpreter's page walk.
  const { slow, flags } = instance.exports;
  const forRegions = { ...imports, env: { ...imports.env, slow, flags } };
  return {
    run: instance.exports['run'] as InterpreterEntry,
    compiler: {
      compile: (slot, code, mode) => {
        const { bytes, entries } = buildRegion(code, mode);
        const region = new WebAssembly.Instance(new WebAssembly.Module(bytes), forRegions);
        regions.set(slot, region.exports['region']);
        return { size: bytes.length, entries };
      },
      release: (slot) => regions.set(slot, null),
    },
    attach: (cpu) => {
      cpus[Math.floor(cpu.base / S.CPU_BLOCK)] = cpu;
      cpu.deliverPlainly = instance.exports['deliver'] as DeliveryEntry;
    },
  };
};
