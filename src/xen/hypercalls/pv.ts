/** The hypercalls that PV guests live by. To others they say no more than that, so they are not loaded until one is asked for. */
import type { Hypercall } from '../hypercall.ts';
import { callbackOp, nmiOp, setCallbacks } from './callback-op.ts';
import { iret } from './iret.ts';
import { mmuUpdate } from './mmu-update.ts';
import { mmuextOp } from './mmuext.ts';
import { fpuTaskswitch, getDebugreg, setDebugreg, setSegmentBase, stackSwitch } from './pv-misc.ts';
import { setGdt } from './set-gdt.ts';
import { setTrapTable } from './set-trap-table.ts';
import { updateDescriptor } from './update-descriptor.ts';
import { updateVaMapping, updateVaMappingOtherdomain } from './update-va-mapping.ts';

export const pvHypercalls = (): readonly Hypercall[] => [
  mmuextOp,
  mmuUpdate,
  setGdt,
  updateDescriptor,
  updateVaMapping,
  updateVaMappingOtherdomain,
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
