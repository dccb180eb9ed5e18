/**
 * Runstate: what a vCPU is doing and for how long it has done each thing. The accounting itself is in the vCPU; here is what others see of it.
 *
 * Invariants: the sum of `time` is the time since creation; no `time` ever decreases; `state_entry_time` only moves forward.
 * `xen:public/vcpu.h#vcpu_runstate_info`
 */
import type { ValueOf } from '../abi/xen/struct.ts';
import type { vcpu_runstate_info } from '../abi/xen/vcpu.ts';
import { RUNSTATE_running } from '../abi/xen/vcpu.ts';
import type { Vcpu } from './vcpu.ts';

/** Runstate of a vCPU with the time since the last change added to the current state. */
export function runstateOf(vcpu: Vcpu): ValueOf<typeof vcpu_runstate_info> {
  const elapsed = vcpu.domain.now() - vcpu.runstateEntryTime;
  const time = [...vcpu.runstateTime];
  if (elapsed > 0n) time[vcpu.runstate] += elapsed;
  return { state: vcpu.runstate, state_entry_time: vcpu.runstateEntryTime, time };
}

/** A vCPU is put on the processor: it is running, its areas say so, its clock is fresh and missed periodic ticks arrive. */
export function enterProcessor(vcpu: Vcpu): void {
  vcpu.setRunstate(RUNSTATE_running);
  const pv = vcpu.domain.pv?.vcpus[vcpu.id];
  if (pv?.begin !== undefined) {
    pv.begin();
    pv.begin = undefined;
  }
  const { info } = vcpu.domain;
  info.runstate.update(vcpu);
  info.time.update(vcpu);
  vcpu.timers.entered();
  // Every entry to an HVM guest looks for a callback vector, whether or not the guest takes interrupts.
  if (vcpu.domain.isHvm) vcpu.domain.upcalls.pendingVector(vcpu.id);
}

/** A vCPU leaves the processor, runnable, blocked or offline. */
export function leaveProcessor(vcpu: Vcpu): void {
  vcpu.timers.left();
  vcpu.setRunstate(vcpu.offRunstate());
  vcpu.domain.info.runstate.update(vcpu);
}
