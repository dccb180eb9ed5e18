/** The processor: what the layers above may use. */
export { Cpu, type CpuPorts } from './cpu.ts';
export { CodeCache } from './decode/cache.ts';
export { type CodeSize, type DecodeResult, Decoder } from './decode/decoder.ts';
export type { Insn } from './decode/insn.ts';
export { loadFpuImage, resetFpu } from './fpu/image.ts';
export { buildInterpreter, buildVectors } from './interpret/build.ts';
export {
  createInterpreter,
  type Interpreter,
  type InterpreterModules,
  interpreterModules,
} from './interpret/instance.ts';
export * as STATUS from './interpret/status.ts';
export {
  type CpuModel,
  type InterruptLine,
  NO_PAGE,
  type PhysicalMemory,
  type PortIo,
  type SoftwareKind,
  type TrapOutcome,
  type TrapOwner,
  type TrapSink,
} from './ports.ts';
export type { CpuProbe } from './probe.ts';
export * as STATE from './state.ts';
export { GuestFault } from './system/fault.ts';
export { type ReturnFrame, resumeAt, resumeFlat } from './system/resume.ts';
