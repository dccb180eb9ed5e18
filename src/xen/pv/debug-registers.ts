/**
 * Debug registers of PV guests, by instruction and by hypercall. DR4 and DR5 name DR6 and DR7 unless the guest set CR4.DE. Breakpoints may not lie in
 * the hypervisor's range. I/O breakpoints never reach the processor: the emulation of port I/O looks at them.
 * `xen:arch/x86/pv/misc-hypercalls.c#set_debugreg`
 */
import * as S from '../../cpu/state.ts';
import { guestAddress } from './address-space.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const CR4_DE = 8n;
const DR6_FIXED = 0xffff_0ff0,
  DR6_WRITABLE = 0xe00f;
const DR7_FIXED = 0x400,
  DR7_WRITABLE = 0xffff_23ff;
const DR7_GD = 0x2000;
const DR7_ACTIVE = 0xff;
const IO = 2;

/** `absent`: no such register (#UD, ENODEV); `invalid`: reserved bits (#GP, EINVAL); `refused`: not for a guest (#GP, EPERM). */
export type SetResult = 'done' | 'absent' | 'invalid' | 'refused';

const place = (n: number): number => (n === 6 ? S.DR6 : n === 7 ? S.DR7 : S.DR0 + n * 8);

/** The register a number names; undefined when none. */
function resolve(pv: PvVcpu, n: number): number | undefined {
  if (n !== 4 && n !== 5) return n >= 0 && n <= 7 ? n : undefined;
  return (pv.cr4 & CR4_DE) !== 0n ? undefined : n + 2;
}

export function readDebugRegister(pv: PvVcpu, n: number): bigint | undefined {
  const register = resolve(pv, n);
  if (register === undefined) return undefined;
  const value = pv.cpu.get64(place(register));
  return register === 7 ? value | BigInt(pv.ioBreakpoints) : value;
}

export function setDebugRegister(pv: PvVcpu, n: number, value: bigint): SetResult {
  const register = resolve(pv, n);
  if (register === undefined) return 'absent';
  if (register < 4) {
    if (!guestAddress(value)) return 'refused';
    pv.cpu.set64(place(register), value);
    return 'done';
  }
  if (value >> 32n !== 0n) return 'invalid';
  const low = Number(value);
  if (register === 7) return setControl(pv, ((low & DR7_WRITABLE) | DR7_FIXED) >>> 0);
  pv.cpu.set64(S.DR6, BigInt(((low & DR6_WRITABLE) | DR6_FIXED) >>> 0));
  return 'done';
}

function setControl(pv: PvVcpu, dr7: number): SetResult {
  if ((dr7 & DR7_GD) !== 0) return 'refused';
  let io = 0;
  if ((dr7 & DR7_ACTIVE) !== 0) {
    for (let n = 0; n < 4; n++) {
      if (((dr7 >>> (16 + n * 4)) & 3) !== IO) continue;
      if ((pv.cr4 & CR4_DE) === 0n) return 'refused';
      io |= dr7 & (3 << (n * 2));
    }
  }
  pv.ioBreakpoints = io;
  pv.cpu.set64(S.DR7, BigInt((dr7 & ~io) >>> 0));
  pv.cpu.updateMode();
  return 'done';
}
