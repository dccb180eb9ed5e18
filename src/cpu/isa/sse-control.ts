/** Rows of the SSE generations whose opcodes others share: MXCSR, hints and fences. */
import * as S from '../state.ts';
import { c32, c64 } from '../wasm/value.ts';
import { insn, type Meaning, type Row, type RowOptions } from './row.ts';

const SSE: RowOptions = { unit: 'sse' };

/** LDMXCSR: reserved bits fault. */
export const mxcsrRows: readonly Row[] = [
  insn('LDMXCSR', 'NP 0F AE /2m', 'Md', SSE, (s, e) => {
    const value = s.f.op('i32.wrap_i64', e.get());
    s.faultIf(s.f.op('i32.and', value, c32(~S.MXCSR_MASK)), 13, c32(0));
    s.setState32(S.MXCSR, value);
  }),
  insn('STMXCSR', 'NP 0F AE /3m', 'Md', SSE, (s, e) => e.set(s.f.op('i64.and', s.state64(S.MXCSR), c64(0xffff_ffffn)))),
];

/** Hints and fences: memory is strongly ordered here, so only their faults remain. */
const nothing: Meaning = () => {};
export const hintRows: readonly Row[] = [
  insn('PREFETCHNTA', '0F 18 /0m', 'Mb', {}, nothing),
  insn('PREFETCHT0', '0F 18 /1m', 'Mb', {}, nothing),
  insn('PREFETCHT1', '0F 18 /2m', 'Mb', {}, nothing),
  insn('PREFETCHT2', '0F 18 /3m', 'Mb', {}, nothing),
  insn('LFENCE', 'NP 0F AE /5r', '', {}, nothing),
  insn('MFENCE', 'NP 0F AE /6r', '', {}, nothing),
  insn('SFENCE', 'NP 0F AE /7r', '', {}, nothing),
  insn('CLFLUSH', 'NP 0F AE /7m', 'Mb', {}, (s, e) => {
    s.f.op('i64.or', e.get(), c64(0));
  }),
];
