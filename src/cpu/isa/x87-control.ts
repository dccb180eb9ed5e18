/** x87 control: initialisation, words, environments and whole-state images. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import * as fpu from '../fpu/x87-state.ts';
import { C1 } from '../fpu/x87-state.ts';
import * as S from '../state.ts';
import { c32 } from '../wasm/value.ts';
import { checkX87, enterMmx } from './mmx.ts';
import { insn, type Routine, type Row, routine } from './row.ts';

const X87 = { unit: 'x87' } as const;
const row = (name: string, encoding: string, call: Routine): Row => routine(name, encoding, '', X87, call);

/** Layout of the environment: 16- or 32-bit fields, real-address (or virtual-8086) or protected format. */
interface Image {
  readonly wide: boolean;
  readonly real: boolean;
}

const imageOf = (cpu: Cpu, insn: Insn): Image => ({
  wide: insn.operandSize !== 16,
  real: !cpu.protectedMode || cpu.virtual8086,
});
const environmentSize = (image: Image): number => (image.wide ? 28 : 14);

const low16 = (value: bigint): number => Number(value & 0xffffn);
const low32 = (value: bigint): number => Number(value & 0xffff_ffffn);

/** Fields of the environment in order; key `sdm:1 "Saving the x87 FPU's State"`. */
const environmentFields = (cpu: Cpu, { wide, real }: Image): number[] => {
  const control = fpu.getControl(cpu),
    status = fpu.getStatus(cpu),
    tags = fpu.tagWord(cpu);
  const ip = cpu.get64(S.FPU_IP),
    dp = cpu.get64(S.FPU_DP);
  const cs = cpu.get16(S.FPU_CS),
    ds = cpu.get16(S.FPU_DS),
    opcode = cpu.get16(S.FPU_OPCODE) & 0x7ff;
  const words = [control, status, tags];
  if (real) {
    const linearIp = low32(ip + BigInt(cs * 16)),
      linearDp = low32(dp + BigInt(ds * 16));
    if (!wide) {
      return [
        ...words,
        linearIp & 0xffff,
        ((linearIp >>> 4) & 0xf000) | opcode,
        linearDp & 0xffff,
        (linearDp >>> 4) & 0xf000,
      ];
    }
    const high = (linear: number) => ((linear >>> 16) << 12) >>> 0;
    return [...words, linearIp & 0xffff, (high(linearIp) | opcode) >>> 0, linearDp & 0xffff, high(linearDp)];
  }
  if (!wide) return [...words, low16(ip), cs, low16(dp), ds];
  return [...words, low32(ip), ((opcode << 16) | cs) >>> 0, low32(dp), ds];
};

const writeEnvironment = (cpu: Cpu, at: bigint, image: Image): void => {
  environmentFields(cpu, image).forEach((value, i) => {
    if (!image.wide) cpu.writeLinear16(at + BigInt(i * 2), value & 0xffff);
    // Reserved upper halves read as ones.
    else
      cpu.writeLinear32(
        at + BigInt(i * 4),
        i < 3 || (i === 6 && !image.real) || (image.real && (i === 3 || i === 5)) ? (value | 0xffff_0000) >>> 0 : value,
      );
  });
};

const readEnvironment = (cpu: Cpu, at: bigint, { wide, real }: Image): void => {
  const f = Array.from({ length: 7 }, (_, i) =>
    wide ? cpu.readLinear32(at + BigInt(i * 4)) : cpu.readLinear16(at + BigInt(i * 2)),
  );
  cpu.set16(S.FPU_CONTROL, (f[0] & 0x1f7f) | 0x40);
  fpu.setStatus(cpu, f[1] & 0xffff);
  fpu.setTagWord(cpu, f[2] & 0xffff);
  if (real) {
    const high = (value: number) => (wide ? ((value >>> 12) & 0xffff) << 16 : ((value >>> 12) & 0xf) << 16) >>> 0;
    cpu.set64(S.FPU_IP, BigInt(((f[3] & 0xffff) | high(f[4])) >>> 0));
    cpu.set64(S.FPU_DP, BigInt(((f[5] & 0xffff) | high(f[6])) >>> 0));
    cpu.set16(S.FPU_CS, 0);
    cpu.set16(S.FPU_DS, 0);
    cpu.set16(S.FPU_OPCODE, f[4] & 0x7ff);
  } else {
    cpu.set64(S.FPU_IP, BigInt(f[3]));
    cpu.set64(S.FPU_DP, BigInt(f[5]));
    cpu.set16(S.FPU_CS, f[4] & 0xffff);
    cpu.set16(S.FPU_DS, f[6] & 0xffff);
    if (wide) cpu.set16(S.FPU_OPCODE, (f[4] >>> 16) & 0x7ff);
  }
  fpu.summarize(cpu);
};

const saveEnvironment: Routine = (cpu, insn) => {
  fpu.available(cpu);
  const image = imageOf(cpu, insn);
  const at = cpu.effectiveAddress(insn, environmentSize(image), true);
  cpu.probeLinear(at, environmentSize(image), true);
  writeEnvironment(cpu, at, image);
  cpu.set16(S.FPU_CONTROL, fpu.getControl(cpu) | 0x3f);
  fpu.summarize(cpu);
  return undefined;
};

const loadEnvironment: Routine = (cpu, insn) => {
  fpu.begin(cpu);
  const image = imageOf(cpu, insn);
  const at = cpu.effectiveAddress(insn, environmentSize(image), false);
  cpu.probeLinear(at, environmentSize(image), false);
  readEnvironment(cpu, at, image);
  return undefined;
};

const saveAll: Routine = (cpu, insn) => {
  fpu.available(cpu);
  const image = imageOf(cpu, insn);
  const size = environmentSize(image) + 80;
  const at = cpu.effectiveAddress(insn, size, true);
  cpu.probeLinear(at, size, true);
  writeEnvironment(cpu, at, image);
  for (let i = 0; i < 8; i++) {
    const to = at + BigInt(environmentSize(image) + i * 10);
    const n = S.fpr((fpu.top(cpu) + i) & 7);
    cpu.writeLinear64(to, cpu.get64(n));
    cpu.writeLinear16(to + 8n, cpu.get16(n + 8));
  }
  fpu.initialize(cpu);
  return undefined;
};

const restoreAll: Routine = (cpu, insn) => {
  fpu.begin(cpu);
  const image = imageOf(cpu, insn);
  const size = environmentSize(image) + 80;
  const at = cpu.effectiveAddress(insn, size, false);
  cpu.probeLinear(at, size, false);
  readEnvironment(cpu, at, image);
  for (let i = 0; i < 8; i++) {
    const from = at + BigInt(environmentSize(image) + i * 10);
    const n = S.fpr((fpu.top(cpu) + i) & 7);
    cpu.set64(n, cpu.readLinear64(from));
    cpu.set16(n + 8, cpu.readLinear16(from + 8n));
  }
  return undefined;
};

const waiting = (name: string, encoding: string, change: (cpu: Cpu, insn: Insn) => void): Row =>
  row(name, encoding, (cpu, insn) => {
    fpu.begin(cpu);
    fpu.remember(cpu, insn);
    change(cpu, insn);
    return undefined;
  });

const control = (name: string, encoding: string, change: (cpu: Cpu, insn: Insn) => void): Row =>
  row(name, encoding, (cpu, insn) => {
    fpu.available(cpu);
    change(cpu, insn);
    return undefined;
  });

const storeWord = (name: string, encoding: string, value: (cpu: Cpu) => number): Row =>
  control(name, encoding, (cpu, insn) => cpu.writeLinear16(cpu.effectiveAddress(insn, 2, true), value(cpu)));

const rotate = (by: number) => (cpu: Cpu) => {
  fpu.setTop(cpu, fpu.top(cpu) + by);
  fpu.setConditions(cpu, 0, C1);
};

export const x87ControlRows = (): readonly Row[] => [
  row('FLDENV', 'D9 /4m', loadEnvironment),
  row('FNSTENV', 'D9 /6m', saveEnvironment),
  row('FNSAVE', 'DD /6m', saveAll),
  row('FRSTOR', 'DD /4m', restoreAll),
  row('FLDCW', 'D9 /5m', (cpu, insn) => {
    fpu.begin(cpu);
    cpu.set16(S.FPU_CONTROL, (cpu.readLinear16(cpu.effectiveAddress(insn, 2, false)) & 0x1f7f) | 0x40);
    fpu.summarize(cpu);
    return undefined;
  }),
  storeWord('FNSTCW', 'D9 /7m', fpu.getControl),
  storeWord('FNSTSW', 'DD /7m', fpu.getStatus),
  control('FNSTSW', 'DF /E0', (cpu) => cpu.setGpr(S.RAX, BigInt(fpu.getStatus(cpu)), 16)),
  control('FNCLEX', 'DB /E2', (cpu) => fpu.setStatus(cpu, fpu.getStatus(cpu) & 0x7f00)),
  control('FNINIT', 'DB /E3', fpu.initialize),
  // Left from the 8087 and 80287; they do nothing.
  control('FNENI', 'DB /E0', () => {}),
  control('FNDISI', 'DB /E1', () => {}),
  control('FNSETPM', 'DB /E4', () => {}),
  waiting('FNOP', 'D9 /D0', () => {}),
  waiting('FDECSTP', 'D9 /F6', rotate(-1)),
  waiting('FINCSTP', 'D9 /F7', rotate(1)),
  waiting('FFREE', 'DD /0r', (cpu, i) => fpu.free(cpu, i.rm & 7)),
  waiting('FFREEP', 'DF /0r', (cpu, i) => {
    fpu.free(cpu, i.rm & 7);
    fpu.pop(cpu);
  }),
  routine('FWAIT', '9B', '', {}, (cpu) => {
    fpu.wait(cpu);
    return undefined;
  }),
  insn('EMMS', 'NP 0F 77', '', { unit: 'mmx' }, (s) => {
    checkX87(s);
    enterMmx(s);
    s.setState32(S.FPU_TAG, c32(0));
  }),
];
