/** The table of hypercalls. */
import type { Hypercall } from '../hypercall.ts';
import { HypercallTable } from '../hypercall.ts';
import { consoleIo } from './console-io.ts';
import { eventChannelOp } from './event-channel.ts';
import { grantTableOp } from './grant-table.ts';
import { hvmOp } from './hvm.ts';
import { memoryOp } from './memory.ts';
import { mmuUpdate } from './mmu-update.ts';
import { mmuextOp } from './mmuext.ts';
import { multicall } from './multicall.ts';
import { olderForms } from './older-forms.ts';
import { physdevOp } from './physdev.ts';
import { domctl, platformOp, sysctl, unavailable } from './privileged.ts';
import { pvHypercalls } from './pv.ts';
import { schedOp } from './sched.ts';
import { setGdt } from './set-gdt.ts';
import { setTimerOp } from './set-timer.ts';
import { updateDescriptor } from './update-descriptor.ts';
import { updateVaMapping, updateVaMappingOtherdomain } from './update-va-mapping.ts';
import { vcpuOp } from './vcpu.ts';
import { vmAssist } from './vm-assist.ts';
import { xenVersion } from './xen-version.ts';

/** A table for one machine (its trace probe is its own). `more` adds the hypercalls of the PV layer. */
export function hypercallTable(more: readonly Hypercall[] = []): HypercallTable {
  const table: HypercallTable = new HypercallTable([
    memoryOp,
    multicall(() => table),
    setTimerOp,
    xenVersion,
    consoleIo,
    grantTableOp,
    vmAssist,
    vcpuOp,
    mmuextOp,
    mmuUpdate,
    setGdt,
    updateDescriptor,
    updateVaMapping,
    updateVaMappingOtherdomain,
    schedOp,
    eventChannelOp,
    physdevOp,
    hvmOp,
    sysctl,
    domctl,
    platformOp,
    ...pvHypercalls,
    ...olderForms(() => table),
    ...unavailable,
    ...more,
  ]);
  return table;
}
