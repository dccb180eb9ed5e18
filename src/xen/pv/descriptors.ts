/** Descriptors as the hypervisor reads them for a PV guest: from the table the processor uses. */
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';

const bytes = new Uint8Array(8);
const view = new DataView(bytes.buffer);

/** Access rights: as in the upper word of a descriptor. */
export const SEGMENT_S = 1 << 12,
  SEGMENT_PRESENT = 1 << 15,
  SEGMENT_CODE = 1 << 11,
  SEGMENT_WRITABLE = 1 << 9,
  SEGMENT_EXPAND_DOWN = 1 << 10,
  SEGMENT_L = 1 << 21,
  SEGMENT_DB = 1 << 22,
  SEGMENT_G = 1 << 23;

export interface RawDescriptor {
  low: number;
  high: number;
}

/** The eight bytes a selector names, `behind` eight-byte entries further; undefined outside the tables or where nothing is mapped. */
export function readDescriptor(cpu: Cpu, selector: number, behind = 0): RawDescriptor | undefined {
  const index = (selector & 0xfff8) + behind * 8;
  let base: bigint;
  let limit: number;
  if ((selector & 4) === 0) {
    base = cpu.get64(S.GDTR);
    limit = cpu.get32(S.GDTR + 8);
  } else {
    const ldt = S.seg(S.LDTR);
    if ((cpu.get32(ldt + S.SEG_ATTR) & S.ATTR_UNUSABLE) !== 0) return undefined;
    base = cpu.get64(ldt);
    limit = cpu.get32(ldt + S.SEG_LIMIT);
  }
  if (index + 7 > limit || !cpu.tryReadLinear(base + BigInt(index), bytes)) return undefined;
  return { low: view.getUint32(0, true), high: view.getUint32(4, true) };
}

export const descriptorBase = ({ low, high }: RawDescriptor): number =>
  ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0;

/** In bytes. */
export const descriptorLimit = ({ low, high }: RawDescriptor): number => {
  const raw = (low & 0xffff) | (high & 0xf_0000);
  return (high & SEGMENT_G) === 0 ? raw : ((raw << 12) | 0xfff) >>> 0;
};

export const descriptorDpl = ({ high }: RawDescriptor): number => (high >>> 13) & 3;

/** Base of a data segment the hypervisor writes through; undefined when a segment register cannot be loaded with it. Flat ones are not read. */
export function readSegmentBase(cpu: Cpu, selector: number): bigint | undefined {
  if (selector === 0xe021 || selector === 0xe033) return 0n;
  if ((selector & 0xfffc) === 0) return 0n;
  const d = readDescriptor(cpu, selector);
  const wanted = SEGMENT_S | SEGMENT_PRESENT;
  if (d === undefined || (d.high & wanted) !== wanted) return undefined;
  if ((d.high & (SEGMENT_CODE | SEGMENT_WRITABLE)) === SEGMENT_CODE) return undefined;
  return BigInt(descriptorBase(d));
}
