/** What the memory management hypercalls share: whose memory is meant, processors named by a bitmap, continuations of batches. */
import { EPERM, ESRCH } from '../../../abi/xen/errno.ts';
import { MMU_UPDATE_PREEMPTED } from '../../../abi/xen/mmu.ts';
import { u32, ulong } from '../../../abi/xen/struct.ts';
import { DOMID_IO, DOMID_SELF } from '../../../abi/xen/xen.ts';
import type { HypercallContext, Result } from '../../hypercall.ts';
import { again } from '../../hypercall.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import type { PvMemory } from './pv-memory.ts';

/** The parts of the caller's domain; set for every PV domain. */
export function pvOf(context: HypercallContext): PvDomain {
  const { pv } = context.domain;
  if (pv === undefined) throw new Error('not a PV domain');
  return pv;
}

/** The caller's memory, ready to work for it, and the caller. */
export function enter(context: HypercallContext): { readonly mm: PvMemory; readonly pv: PvVcpu } {
  const { mm, vcpus } = pvOf(context);
  mm.enter(context.vcpu);
  return { mm, pv: vcpus[context.vcpu.id] };
}

/** Whose frames a request means. Its own id is no name for a domain here; the devices' memory is nobody's. */
export function pageOwner(context: HypercallContext, domid: number): 'self' | 'io' | 'control' | 'nobody' {
  if (domid === DOMID_SELF) return 'self';
  if (domid === context.domain.id) return 'nobody';
  if (domid === DOMID_IO) return 'io';
  return domid === 0 ? 'control' : 'nobody';
}

/** 0, or the error for frames that are not the caller's own: ESRCH, EPERM. */
export function ownOnly(context: HypercallContext, domid: number): number {
  const owner = pageOwner(context, domid);
  if (owner === 'self') return 0;
  return owner === 'nobody' ? -ESRCH : -EPERM;
}

/** Calls `each` with the vCPUs that a bitmap of the guest's names. False: it cannot be read. */
export function vcpusOfMask(context: HypercallContext, address: bigint, each: (id: number) => void): boolean {
  const { maxVcpus } = context.domain.config;
  const bits = context.width === 'native' ? 64 : 32;
  for (let first = 0; first < maxVcpus; first += bits) {
    const word = context.copyFromGuest(ulong, context.element(ulong, address, first / bits));
    if (word === undefined) return false;
    for (let bit = 0; bit < bits && first + bit < maxVcpus; bit++)
      if (((word >> BigInt(bit)) & 1n) !== 0n) each(first + bit);
  }
  return true;
}

/** Progress of a batch: what the caller asked for, and what was done before it was interrupted. */
export interface Batch {
  readonly list: bigint;
  readonly count: number;
  /** Requests of earlier parts of an interrupted batch. */
  readonly before: number;
}

/**
 * Starts a batch (list, count, where to put the number done, domain): finishes what waits, and reads how far an interrupted one is. A result ends the call: it is
 * the one that was kept when only waiting work remained.
 */
export function beginBatch(context: HypercallContext, mm: PvMemory): Batch | { readonly result: Result } {
  const [list, countArg, donePointer, domain] = context.args;
  if (!mm.deferred.finish()) return { result: again() };
  const given = Number(BigInt.asUintN(32, countArg));
  if (given === MMU_UPDATE_PREEMPTED && list === 0n) return { result: Number(BigInt.asIntN(32, domain)) };
  const count = given & ~MMU_UPDATE_PREEMPTED;
  const resumed = (given & MMU_UPDATE_PREEMPTED) !== 0 && donePointer !== 0n;
  return { list, count, before: resumed ? (context.copyFromGuest(u32, donePointer) ?? 0) : 0 };
}

/** Ends a part of a batch of which `done` requests are done: writes the number, and asks to be called again for what is left. */
export function endBatch(
  context: HypercallContext,
  mm: PvMemory,
  batch: Batch,
  done: number,
  size: bigint,
  result: number | 'again',
): Result {
  const [, , donePointer] = context.args;
  if (donePointer !== 0n) context.copyToGuest(u32, donePointer, (batch.before + done) >>> 0);
  if (result === 'again') {
    const rest = BigInt((batch.count - done + MMU_UPDATE_PREEMPTED) >>> 0);
    return again(context.cut(batch.list + BigInt(done) * size), rest);
  }
  if (!mm.deferred.waiting) return result;
  return again(0n, BigInt(MMU_UPDATE_PREEMPTED), 0n, BigInt.asUintN(32, BigInt(result)));
}
