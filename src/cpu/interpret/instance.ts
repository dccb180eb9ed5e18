/** The interpreter bound to one linear memory and the vCPUs in it. */
import type { Cpu } from '../cpu.ts';
import type { RegionCompiler } from '../decode/regions.ts';
import { HELPERS } from '../helpers.ts';
import * as S from '../state.ts';
import { buildRegion } from '../translate/region.ts';
import { buildInterpreter, buildVectors } from './build.ts';
import { REGION_SLOTS, VECTOR_SLOTS, vectorSlot } from './slots.ts';

/** Runs from a record (0: look RIP up) until something needs attention; an EXIT_* number. */
export type InterpreterEntry = (cpu: number, record: number) => number;

/** Executes one vector instruction: its dispatch number, then what handlers take; the status of a handler. */
type VectorEntry = (op: number, base: number, record: number, ip: bigint) => number;

/** Delivers through a gate in the plain case (system/emitted-gates.ts); 0 when nothing was done. */
export type DeliveryEntry = (cpu: number, what: number, next: bigint, code: number) => number;

export interface Interpreter {
  readonly run: InterpreterEntry;
  /** Writes `first`, `first` + 1... to so many 32-bit words of memory from a byte address on. */
  readonly count: (at: number, words: number, first: number) => void;
  /** Makes a vCPU known; its state block begins at `base`. */
  attach(cpu: Cpu): void;
  /** Translates blocks of guest code into a slot of the region table. */
  readonly compiler: RegionCompiler;
}

/** The interpreter's modules, which any number of machines can share. */
export interface InterpreterModules {
  readonly main: WebAssembly.Module;
  /** Handlers of vector rows: asked for when a guest meets the first of them. */
  vectors(): WebAssembly.Module;
  /** Called once, before the first region is compiled: what the host has to tell its WebAssembly engine by then. */
  beforeRegions?(): void;
}

/** Builds and compiles the modules, which takes some tens of milliseconds each. `firstInstructions`: what the loop for short runs executes. */
export const interpreterModules = (options: { readonly firstInstructions?: number } = {}): InterpreterModules => {
  let vectors: WebAssembly.Module | undefined;
  return {
    main: new WebAssembly.Module(buildInterpreter(options.firstInstructions)),
    vectors: () => {
      vectors ??= new WebAssembly.Module(buildVectors());
      return vectors;
    },
  };
};

export const createInterpreter = (memory: WebAssembly.Memory, modules = interpreterModules()): Interpreter => {
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
      // Only the first vector instruction of a machine comes here.
      vectors: (op: number, base: number, record: number, ip: bigint) => {
        const call = loadVectors(op);
        return call(op, base, record, ip);
      },
    },
    helpers,
  };
  const instance = new WebAssembly.Instance(modules.main, imports);
  const functions = instance.exports['functions'] as WebAssembly.Table;
  const { slow, fill, refill, flags, absentVectors } = instance.exports;
  for (let i = 0; i < VECTOR_SLOTS; i++) functions.set(REGION_SLOTS + i, absentVectors);
  // What is compiled outside the main module calls the interpreter's page walk when an inline TLB lookup misses.
  const forOthers = { ...imports, env: { ...imports.env, slow, fill, refill, flags } };
  const loadVectors = (op: number): VectorEntry => {
    const { exports } = new WebAssembly.Instance(modules.vectors(), forOthers);
    for (const [name, entry] of Object.entries(exports)) functions.set(REGION_SLOTS + Number(name), entry);
    return functions.get(vectorSlot(op)) as VectorEntry;
  };
  let prepared = false;
  const prepare = (): void => {
    if (prepared) return;
    prepared = true;
    modules.beforeRegions?.();
  };
  return {
    run: instance.exports['run'] as InterpreterEntry,
    count: instance.exports['count'] as Interpreter['count'],
    compiler: {
      compile: (slot, code, mode) => {
        const { bytes, entries } = buildRegion(code, mode);
        prepare();
        const region = new WebAssembly.Instance(new WebAssembly.Module(bytes), forOthers);
        functions.set(slot, region.exports['region']);
        return { size: bytes.length, entries };
      },
      release: (slot) => functions.set(slot, null),
    },
    attach: (cpu) => {
      cpus[Math.floor(cpu.base / S.CPU_BLOCK)] = cpu;
      cpu.deliverPlainly = instance.exports['deliver'] as DeliveryEntry;
    },
  };
};
