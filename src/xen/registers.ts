/** Where hypercall numbers and arguments are. `xen:public/arch-x86/xen-x86_64.h`, `xen-x86_32.h` */
import type { Layout } from '../abi/xen/struct.ts';
import { gpr, RAX, RBX, RCX, RDI, RDX, RSI } from '../cpu/state.ts';
import type { GuestCpu } from './guest-cpu.ts';
import type { ViridianCall } from './viridian/hypercalls.ts';

const R8 = 8;
const R10 = 10;
const NATIVE = [RDI, RSI, RDX, R10, R8];
const COMPAT = [RBX, RCX, RDX, RSI, RDI];
const MASK32 = 0xffff_ffffn;

/** Number and five arguments. 32-bit callers' upper halves are ignored. */
export function readCall(cpu: GuestCpu, width: Layout): { number: bigint; args: bigint[] } {
  const mask = width === 'native' ? (1n << 64n) - 1n : MASK32;
  return {
    number: cpu.get64(gpr(RAX)) & mask,
    args: (width === 'native' ? NATIVE : COMPAT).map((register) => cpu.get64(gpr(register)) & mask),
  };
}

/** The result in rAX: sign-extended for 64-bit callers, 32 bits zero-extended for others. */
export function writeResult(cpu: GuestCpu, width: Layout, result: number | bigint): void {
  const value = BigInt.asUintN(64, BigInt(result));
  cpu.set64(gpr(RAX), width === 'native' ? value : value & MASK32);
}

/** Replaces arguments for a continuation; undefined ones stay. */
export function writeArguments(cpu: GuestCpu, width: Layout, args: readonly (bigint | undefined)[]): void {
  const registers = width === 'native' ? NATIVE : COMPAT;
  args.forEach((value, i) => {
    if (value !== undefined) cpu.set64(gpr(registers[i]), width === 'native' ? value : value & MASK32);
  });
}

/** Hyper-V's own convention: rcx, rdx, r8 in 64-bit code; edx:eax, ebx:ecx, edi:esi in others. */
export function readViridianCall(cpu: GuestCpu, width: Layout): ViridianCall {
  const register = (n: number): bigint => cpu.get64(gpr(n));
  if (width === 'native') return { control: register(RCX), input: register(RDX), output: register(R8) };
  const pair = (high: number, low: number): bigint => ((register(high) & MASK32) << 32n) | (register(low) & MASK32);
  return { control: pair(RDX, RAX), input: pair(RBX, RCX), output: pair(RDI, RSI) };
}

/** The status: rax, or edx:eax. */
export function writeViridianResult(cpu: GuestCpu, width: Layout, result: bigint): void {
  if (width === 'native') cpu.set64(gpr(RAX), result);
  else {
    cpu.set64(gpr(RAX), result & MASK32);
    cpu.set64(gpr(RDX), (result >> 32n) & MASK32);
  }
}
