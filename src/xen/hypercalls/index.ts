/** The table of hypercalls. */
import type { Hypercall } from '../hypercall.ts';
import { HypercallTable } from '../hypercall.ts';
import { consoleIo } from './console-io.ts';
import { eventChannelOp } from './event-channel.ts';
import { grantTableOp } from './grant-table.ts';
import { hvmOp } from './hvm.ts';
import { memoryOp } from './memory.ts';
import { multicall } from './multicall.ts';
import { olderForms } from './older-forms.ts';
import { physdevOp } from './physdev.ts';
import { domctl, platformOp, sysctl, unavailable } from './privileged.ts';
import { pvHypercalls } from './pv.ts';
import { schedOp } from './sched.ts';
import { setTimerOp } from './set-timer.ts';
import { vcpuOp } from './vcpu.ts';
import { vmAssist } from './vm-assist.ts';
import { xenVersion } from './xen-version.ts';

/** A table for one machine (its trace probe is its own). */
export function hypercallTable(): HypercallTable {
  const common: readonly Hypercall[] = [
    memoryOp,
    multicall(() => table),
    setTimerOp,
    xenVersion,
    consoleIo,
    grantTableOp,
    vmAssist,
    vcpuOp,
    schedOp,
    eventChannelOp,
    physdevOp,
    hvmOp,
    sysctl,
    domctl,
    platformOp,
    ...olderForms(() => table),
    ...unavailable,
  ];
  const table: HypercallTable = new HypercallTable(common, pvHypercalls);
  return table;
}
