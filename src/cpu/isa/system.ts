/** Privileged and system instructions. */
import { MISC_FEATURES_CPUID_FAULTING, MSR_MISC_FEATURES_ENABLES } from '../../abi/x86/msr.ts';
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import { HELPER_INVALIDATE, HELPER_WRITE_CR3 } from '../helpers.ts';
import type { Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { CR0_TS, CR4_SMAP, CR4_TSD, CR4_UMIP, readControl, writeControl, writeCr0 } from '../system/control.ts';
import { readDebug, writeDebug } from '../system/debug-registers.ts';
import { canonical, isProtected, selectorOf } from '../system/descriptor.ts';
import { fault, GP, UD } from '../system/fault.ts';
import { readMsr, writeMsr } from '../system/msr.ts';
import { checkSystemInstruction, loadLdt, loadTask } from '../system/segment-load.ts';
import { c32, c64 } from '../wasm/value.ts';
import { readWord, writeWord } from './operands.ts';
import { type Meaning, type Routine, type Row, routine, usual } from './row.ts';

const ENDS = { ends: true } as const;
/** What changes the mapping of code: the translator does not go on behind it. */
const MAPPING = { ends: true, alone: true, weight: 4 } as const;
const READ = { alone: true, weight: 4 } as const;

const privileged = (cpu: Cpu): void => {
  if (cpu.cpl !== 0) throw fault(GP, 0);
};

/** CR4.UMIP hides descriptor-table and machine-status reads from user code. */
const checkUmip = (cpu: Cpu): void => {
  if (cpu.cpl !== 0 && (cpu.get32(S.CR4) & CR4_UMIP) !== 0) throw fault(GP, 0);
};

const controlWidth = (insn: Insn): 32 | 64 => (insn.codeSize === 64 ? 64 : 32);
const controlValue = (cpu: Cpu, insn: Insn): bigint => BigInt.asUintN(controlWidth(insn), cpu.gpr(insn.rm));

const storeTable =
  (table: number): Routine =>
  (cpu, insn) => {
    checkUmip(cpu);
    const wide = insn.codeSize === 64;
    const at = cpu.effectiveAddress(insn, wide ? 10 : 6, true);
    cpu.probeLinear(at, wide ? 10 : 6, true);
    cpu.writeLinear16(at, cpu.get32(table + 8) & 0xffff);
    if (wide) cpu.writeLinear64(at + 2n, cpu.get64(table));
    else cpu.writeLinear32(at + 2n, cpu.get32(table));
    return undefined;
  };

const loadTable =
  (table: number): Routine =>
  (cpu, insn) => {
    privileged(cpu);
    const wide = insn.codeSize === 64;
    const at = cpu.effectiveAddress(insn, wide ? 10 : 6, false);
    const limit = cpu.readLinear16(at);
    let base = wide ? cpu.readLinear64(at + 2n) : BigInt(cpu.readLinear32(at + 2n));
    // A 16-bit operand size keeps the 24-bit bases of the 80286.
    if (!wide && insn.operandSize === 16) base &= 0xff_ffffn;
    if (wide && !canonical(base)) throw fault(GP, 0);
    cpu.set64(table, base);
    cpu.set32(table + 8, limit);
    return undefined;
  };

const storeSelector =
  (n: number): Routine =>
  (cpu, insn) => {
    if (!isProtected(cpu)) throw fault(UD);
    checkUmip(cpu);
    writeWord(cpu, insn, BigInt(selectorOf(cpu, n)));
    return undefined;
  };

const loadSelector =
  (load: (cpu: Cpu, selector: number) => void): Routine =>
  (cpu, insn) => {
    checkSystemInstruction(cpu);
    load(cpu, readWord(cpu, insn));
    return undefined;
  };

const lmsw: Routine = (cpu, insn) => {
  privileged(cpu);
  const old = cpu.get32(S.CR0);
  // PE can be set but not cleared this way.
  const low = (readWord(cpu, insn) & 0xf) | (old & 1);
  writeCr0(cpu, BigInt(((old & ~0xf) | low) >>> 0));
  return undefined;
};

/** INVLPG takes no segment or canonicality faults; a segment base counts. */
const invlpg: Routine = (cpu, insn) => {
  privileged(cpu);
  const segment = insn.memory!.segment;
  const based = !cpu.code64 || segment >= S.FS;
  const linear = cpu.mem.operandOffset(insn) + (based ? cpu.get64(S.seg(segment)) : 0n);
  const cut = BigInt.asUintN(cpu.code64 ? 64 : 32, linear);
  if (canonical(cut)) cpu.invalidatePage(cut);
  return undefined;
};

/** The instruction goes on at level 0 only; the routine raises the fault otherwise. */
const whenPrivileged = (s: Semantics): void => {
  s.f.if(s.state32(S.CPL), () => s.routine());
};

const invlpgMeaning: Meaning = (s, place) => {
  whenPrivileged(s);
  const linear = place.linear();
  const { f } = s;
  s.callSystem(
    HELPER_INVALIDATE,
    f.op('i32.wrap_i64', linear),
    f.op('i32.wrap_i64', f.op('i64.shr_u', linear, c64(32n))),
  );
};

/** CR0, CR2, CR3 and CR4; CR8 is the local APIC's. */
const readCr: Meaning = (s, to, register) => {
  const { f } = s;
  whenPrivileged(s);
  const number = f.op('i32.wrap_i64', register.get());
  f.if(f.op('i32.gt_u', number, c32(4)), () => s.routine());
  let value = s.state64(S.CR4);
  for (const [n, at] of [
    [0, S.CR0],
    [2, S.CR2],
    [3, S.CR3],
  ] as const)
    value = f.select(f.op('i32.eq', number, c32(n)), s.state64(at), value);
  to.set(f.op('i64.and', value, s.state64(S.LINEAR_MASK)));
};

/** CR3; what the others change is for the routine. */
const writeCr: Meaning = (s, register, from) => {
  const { f } = s;
  whenPrivileged(s);
  f.if(f.op('i64.ne', register.get(), c64(3n)), () => s.routine());
  const value = f.op('i64.and', from.get(), s.state64(S.LINEAR_MASK));
  s.callSystem(HELPER_WRITE_CR3, f.op('i32.wrap_i64', value), f.op('i32.wrap_i64', f.op('i64.shr_u', value, c64(32n))));
};

const setPair = (cpu: Cpu, value: bigint): void => {
  cpu.setGpr(S.RAX, value & 0xffff_ffffn);
  cpu.setGpr(S.RDX, (value >> 32n) & 0xffff_ffffn);
};

const rdtsc = (cpu: Cpu): undefined => {
  if (cpu.cpl !== 0 && (cpu.get32(S.CR4) & CR4_TSD) !== 0) throw fault(GP, 0);
  setPair(cpu, cpu.traps.readTsc(cpu));
};

const leaves = new Uint32Array(4);

const cpuid = (cpu: Cpu): undefined => {
  if (cpu.cpl !== 0 && ((cpu.traps.rdmsr(cpu, MSR_MISC_FEATURES_ENABLES) ?? 0n) & MISC_FEATURES_CPUID_FAULTING) !== 0n)
    throw fault(GP, 0);
  cpu.traps.cpuid(cpu, cpu.get32(S.gpr(S.RAX)), cpu.get32(S.gpr(S.RCX)), leaves);
  [S.RAX, S.RBX, S.RCX, S.RDX].forEach((register, n) => {
    cpu.setGpr(register, BigInt(leaves[n]));
  });
};

/** STAC and CLAC: #UD without SMAP in the model, and above CPL 0. */
const setAccess =
  (on: boolean): Routine =>
  (cpu) => {
    if ((cpu.model.cr4Mask & BigInt(CR4_SMAP)) === 0n || cpu.cpl !== 0) throw fault(UD);
    cpu.eflags = on ? cpu.eflags | S.AC : cpu.eflags & ~S.AC;
    return undefined;
  };

const hypercall =
  (kind: 0 | 1): Routine =>
  (cpu) => {
    switch (cpu.traps.hypercall(cpu, kind)) {
      case 'next':
        return undefined;
      case 'again':
        return 'again';
      case 'undefined':
        throw fault(UD);
      case 'protection':
        throw fault(GP, 0);
    }
  };

const undefinedOpcode: Routine = () => {
  throw fault(UD);
};

const cacheControl: Routine = (cpu) => {
  privileged(cpu);
  return undefined;
};

export const systemRows: readonly Row[] = [
  routine('SLDT', '0F 00 /0', 'Ev', {}, storeSelector(S.LDTR)),
  routine('STR', '0F 00 /1', 'Ev', {}, storeSelector(S.TR)),
  routine('LLDT', '0F 00 /2', 'Ew', {}, loadSelector(loadLdt)),
  routine('LTR', '0F 00 /3', 'Ew', {}, loadSelector(loadTask)),
  routine('SGDT', '0F 01 /0m', 'Ms', {}, storeTable(S.GDTR)),
  routine('SIDT', '0F 01 /1m', 'Ms', {}, storeTable(S.IDTR)),
  routine('LGDT', '0F 01 /2m', 'Ms', { ref: 'sdm:LGDT/LIDT' }, loadTable(S.GDTR)),
  routine('LIDT', '0F 01 /3m', 'Ms', { ref: 'sdm:LGDT/LIDT' }, loadTable(S.IDTR)),
  routine('SMSW', '0F 01 /4', 'Ev', {}, (cpu, insn) => {
    checkUmip(cpu);
    writeWord(cpu, insn, cpu.get64(S.CR0));
    return undefined;
  }),
  routine('LMSW', '0F 01 /6', 'Ew', ENDS, lmsw),
  usual('INVLPG', '0F 01 /7m', 'Mb', MAPPING, invlpgMeaning, invlpg),
  routine('VMCALL', 'NP 0F 01 /C1', '', ENDS, hypercall(0)),
  routine('VMMCALL', '0F 01 /D9', '', { ...ENDS, ref: 'amd:VMMCALL' }, hypercall(1)),
  routine('CLAC', 'NP 0F 01 /CA', '', ENDS, setAccess(false)),
  routine('STAC', 'NP 0F 01 /CB', '', ENDS, setAccess(true)),
  routine('RDTSCP', '0F 01 /F9', '', {}, (cpu) => {
    rdtsc(cpu);
    cpu.setGpr(S.RCX, BigInt(cpu.get32(S.TSC_AUX)));
    return undefined;
  }),
  routine('CLTS', '0F 06', '', ENDS, (cpu) => {
    privileged(cpu);
    writeCr0(cpu, cpu.get64(S.CR0) & ~BigInt(CR0_TS));
    return undefined;
  }),
  routine('INVD', '0F 08', '', {}, cacheControl),
  routine('WBINVD', '0F 09', '', {}, cacheControl),
  routine('UD2', '0F 0B', '', { ...ENDS, ref: 'sdm:UD' }, undefinedOpcode),
  routine('UD1', '0F B9 /r', 'Gv,Ev', { ...ENDS, ref: 'sdm:UD' }, undefinedOpcode),
  routine('UD0', '0F FF /r', 'Gv,Ev', { ...ENDS, ref: 'sdm:UD' }, undefinedOpcode),
  routine('RSM', '0F AA', '', ENDS, undefinedOpcode),
  usual(
    'MOV',
    '0F 20 /r',
    'Rq,Cq',
    { ...READ, ref: 'sdm:MOV--Move to/from Control Registers' },
    readCr,
    (cpu, insn) => {
      privileged(cpu);
      cpu.setGpr(insn.rm, readControl(cpu, insn.reg), controlWidth(insn));
      return undefined;
    },
  ),
  usual(
    'MOV',
    '0F 22 /r',
    'Cq,Rq',
    { ...MAPPING, ref: 'sdm:MOV--Move to/from Control Registers' },
    writeCr,
    (cpu, insn) => {
      privileged(cpu);
      writeControl(cpu, insn.reg, controlValue(cpu, insn));
      return undefined;
    },
  ),
  routine('MOV', '0F 21 /r', 'Ry,Dy', { ref: 'sdm:MOV--Move to/from Debug Registers' }, (cpu, insn) => {
    cpu.setGpr(insn.rm, readDebug(cpu, insn.reg), controlWidth(insn));
    return undefined;
  }),
  routine('MOV', '0F 23 /r', 'Dy,Ry', { ...ENDS, ref: 'sdm:MOV--Move to/from Debug Registers' }, (cpu, insn) => {
    writeDebug(cpu, insn.reg, controlValue(cpu, insn));
    return undefined;
  }),
  routine('WRMSR', '0F 30', '', ENDS, (cpu) => {
    privileged(cpu);
    const value = (BigInt(cpu.get32(S.gpr(S.RDX))) << 32n) | BigInt(cpu.get32(S.gpr(S.RAX)));
    writeMsr(cpu, cpu.get32(S.gpr(S.RCX)), value);
    return undefined;
  }),
  routine('RDTSC', '0F 31', '', {}, rdtsc),
  routine('RDMSR', '0F 32', '', {}, (cpu) => {
    privileged(cpu);
    setPair(cpu, readMsr(cpu, cpu.get32(S.gpr(S.RCX))));
    return undefined;
  }),
  // There are no performance counters, so every index is wrong.
  routine('RDPMC', '0F 33', '', {}, () => {
    throw fault(GP, 0);
  }),
  routine('CPUID', '0F A2', '', {}, cpuid),
  routine('PAUSE', 'F3 90', '', ENDS, (cpu) => {
    cpu.traps.pause(cpu);
    return undefined;
  }),
  routine('HLT', 'F4', '', ENDS, (cpu) => {
    privileged(cpu);
    cpu.traps.halt(cpu, (cpu.get32(S.EFLAGS_REST) & S.IF) !== 0);
    return undefined;
  }),
];

/**
 * The forced emulation prefix (`ud2` followed by "xen"), an instruction of its own for the decoder: the one behind it runs next, as if
 * both were one, and its faults and traps are reported at its own address.
 */
export const forcedEmulationRow: Row = routine(
  'FEP',
  '0F 0B',
  '',
  { ...ENDS, ref: 'xen:misc/xen-command-line.pandoc' },
  (cpu) => {
    // Neither an interrupt nor a single step comes between the two.
    cpu.set32(S.SHADOW, 2);
    return undefined;
  },
);
