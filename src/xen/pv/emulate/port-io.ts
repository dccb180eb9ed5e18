/** Port I/O of PV guests: by the virtual IOPL or the guest's permission bit map. No port is really theirs: reads give ones, writes nothing. */
import { GuestFault } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';
import { injectPageFault } from '../inject.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import { injectFault, type Outcome, type Trapped } from './privileged.ts';

const ARCHITECTURAL_IOPL = 1n << 4n;
const IOPL_SHIFT = 12;
const CR4_DE = 8n;

/**
 * The kernel counts as ring 1, or, with the architectural-IOPL assist, as ring 0; the user as ring 3 (`xen:public/xen.h#VMASST_TYPE_architectural_iopl`).
 */
export function ioplPermits({ domain }: PvDomain, pv: PvVcpu): boolean {
  const kernelLevel = (domain.vmAssist & ARCHITECTURAL_IOPL) !== 0n ? 0 : 1;
  return (pv.kernelMode ? kernelLevel : 3) <= pv.iopl >> IOPL_SHIFT;
}

const mask = new Uint8Array(2);

/** Reads the bit map in kernel mode's address space. 'fault' is the address that could not be read. */
function bitmapPermits({ domain, pv, cpu }: Trapped, port: number, size: number): boolean | { fault: bigint } {
  if (port + size > pv.ioBitmap.ports) return false;
  const at = pv.ioBitmap.address + BigInt(port >> 3);
  const user = pv.width === 64 && !pv.inKernel;
  const toggle = (): void => {
    pv.inKernel = !pv.inKernel;
    domain.mm.loadRoot(pv);
  };
  if (user) toggle();
  const read = cpu.tryReadLinear(at, mask);
  if (user) toggle();
  if (!read) return { fault: at };
  const bits = (mask[0] | (mask[1] << 8)) >>> (port & 7);
  return (bits & ((1 << size) - 1)) === 0;
}

/** DR6 bits of the I/O breakpoints a port access meets; the processor does not know of them. */
function breakpointsAt({ pv, cpu }: Trapped, port: number, size: number): number {
  if (pv.ioBreakpoints === 0 || (pv.cr4 & CR4_DE) === 0n) return 0;
  const dr7 = cpu.get32(S.DR7);
  let hit = 0;
  for (let n = 0; n < 4; n++) {
    if (((pv.ioBreakpoints >>> (n * 2)) & 3) === 0) continue;
    const width = [1, 2, 8, 4][(dr7 >>> (18 + n * 4)) & 3];
    const start = cpu.get64(S.DR0 + n * 8) & ~BigInt(width - 1);
    if (start < BigInt(port + size) && start + BigInt(width) > BigInt(port)) hit |= 1 << n;
  }
  return hit;
}

const PORT_ROWS: ReadonlySet<string> = new Set(['IN', 'OUT', 'INS', 'OUTS']);

/** IN, OUT, INS and OUTS through their own routines, once their permission is clear; others are not ours. */
export function performPortIo(t: Trapped): Outcome {
  const { domain, pv, cpu, insn } = t;
  if (!PORT_ROWS.has(insn.row.name)) return 'unhandled';
  const opcode = Number.parseInt(insn.row.encoding, 16);
  const size = (opcode & 1) === 0 ? 1 : insn.operandSize === 16 ? 2 : 4;
  const port = (opcode & 0xfc) === 0xe4 ? Number(insn.immediate & 0xffn) : cpu.get16(S.gpr(S.RDX));
  if (!ioplPermits(domain, pv)) {
    const permitted = bitmapPermits(t, port, size);
    if (typeof permitted === 'object') {
      injectPageFault(domain, pv, cpu, permitted.fault, 0);
      return 'injected';
    }
    if (!permitted) return 'protection';
  }
  t.breakpoints = breakpointsAt(t, port, size);
  return withPorts(t);
}

/** Runs the routine with an IOPL that lets it reach every port. */
function withPorts(t: Trapped): Outcome {
  const { cpu, insn } = t;
  const flags = cpu.get32(S.EFLAGS_REST);
  cpu.set32(S.EFLAGS_REST, flags | S.IOPL);
  try {
    const after = insn.row.call?.(cpu, insn);
    if (after !== 'again') return 'done';
    if (t.breakpoints === 0) return 'again';
    // The debug trap comes between two repetitions.
    t.next = cpu.rip;
    return 'done';
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    cpu.set32(S.EFLAGS_REST, flags);
    return injectFault(t, e);
  } finally {
    cpu.mem.endRoutine();
    if ((cpu.get32(S.EFLAGS_REST) & S.IOPL) !== 0) cpu.set32(S.EFLAGS_REST, cpu.get32(S.EFLAGS_REST) & ~S.IOPL);
  }
}
