/** The hypercalls that only PV guests have, as far as the processor is concerned. */
import type { Hypercall } from '../hypercall.ts';
import { callbackOp, nmiOp, setCallbacks } from './callback-op.ts';
import { iret } from './iret.ts';
import { fpuTaskswitch, getDebugreg, setDebugreg, setSegmentBase, stackSwitch } from './pv-misc.ts';
import { setTrapTable } from './set-trap-table.ts';

export const pvHypercalls: readonly Hypercall[] = [
  setTrapTable,
  stackSwitch,
  setCallbacks,
  fpuTaskswitch,
  setDebugreg,
  getDebugreg,
  iret,
  setSegmentBase,
  nmiOp,
  callbackOp,
];
