/** Availability of the x87 and SSE units, checked before anything else an instruction does (key `sdm:3A "Device-Not-Available"`). */
import type { Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { c32 } from '../wasm/value.ts';
import type { Row } from './row.ts';

const EM = 4,
  TS = 8;
const OSFXSR = 0x200;

/** #UD when the unit is switched off (CR0.EM, CR4.OSFXSR clear), #NM when its state belongs to another task (CR0.TS). */
export const unitCheck = (s: Semantics, row: Row): void => {
  const { f } = s;
  if (row.unit === undefined) return;
  const cr0 = () => s.state32(S.CR0);
  if (row.unit === 'sse') {
    f.if(s.state32(S.SSE_BLOCKED), () => {
      const off = f.op(
        'i32.or',
        f.op('i32.and', cr0(), c32(EM)),
        f.op('i32.eqz', f.op('i32.and', s.state32(S.CR4), c32(OSFXSR))),
      );
      s.faultIf(off, 6);
      s.fault(7);
    });
  } else if (row.unit === 'mmx') {
    s.faultIf(f.op('i32.and', cr0(), c32(EM)), 6);
    s.faultIf(f.op('i32.and', cr0(), c32(TS)), 7);
  } else s.faultIf(f.op('i32.and', cr0(), c32(EM | TS)), 7);
};
