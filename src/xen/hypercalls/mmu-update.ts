/** `xen:public/xen.h#HYPERVISOR_mmu_update`: a list of changes of page-table entries and of the machine-to-physical table. */
import { EBUSY, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/mmu.ts';
import { __HYPERVISOR_mmu_update, DOMID_SELF } from '../../abi/xen/xen.ts';
import type { HypercallContext, Result } from '../hypercall.ts';
import { full, hypercall } from '../hypercall.ts';
import { guestAddress } from '../pv/address-space.ts';
import { type Level, P } from '../pv/mm/entries.ts';
import * as f from '../pv/mm/frame-table.ts';
import { beginBatch, endBatch, enter, pageOwner } from '../pv/mm/hypercall-common.ts';
import { PARTIAL_WORK, STOPPED } from '../pv/mm/page-types.ts';
import type { PvMemory } from '../pv/mm/pv-memory.ts';
import { rangeOkay } from './common.ts';

const SIZE = 16n;
/** One request, read in place. */
const raw = new Uint8Array(16);
const request = new Uint32Array(raw.buffer);

/** What the requests of a call may touch. */
interface Target {
  readonly mm: PvMemory;
  /** The page tables are the caller's own, those of a domain out of reach, or of one that does not exist. */
  readonly tables: 'self' | 'control';
  readonly frames: 'self' | 'io' | 'control';
  /** A table above the last level changed: the guest may see it through linear tables, so everyone forgets. */
  flush: boolean;
}

/**
 * Arguments: list, count, where to put the number done, domain (whose page tables in the upper half, plus one; whose frames in the lower). EFAULT: list out of range;
 * ESRCH: no such domain; then per request EFAULT; ENOSYS: kind; EPERM: another domain; what the change answers.
 */
export const mmuUpdate = hypercall(
  __HYPERVISOR_mmu_update,
  'xen:public/xen.h#HYPERVISOR_mmu_update',
  full({ guests: 'pv' }, (context): Result => {
    const { mm } = enter(context);
    const batch = beginBatch(context, mm);
    if ('result' in batch) return batch.result;
    const { list, count } = batch;
    if (!guestAddress(list) || !rangeOkay(context, list, BigInt(count) * SIZE)) return -EFAULT;
    const target = targetOf(context, mm);
    if (target === undefined) return -ESRCH;
    let done = 0;
    let result = 0;
    for (; done < count; done++) {
      if (mm.deferred.waiting || (done > 0 && mm.validator.preempt())) {
        result = PARTIAL_WORK;
        break;
      }
      if (!context.vcpu.cpu.tryReadLinear(list + BigInt(done) * SIZE, raw)) result = -EFAULT;
      else result = perform(target);
      if (result !== 0) break;
    }
    if (target.flush) mm.tlbs.flushAll();
    const interrupted = result === PARTIAL_WORK || result === STOPPED;
    return endBatch(context, mm, batch, done, SIZE, interrupted ? 'again' : result);
  }),
);

function targetOf(context: HypercallContext, mm: PvMemory): Target | undefined {
  const foreign = Number(BigInt.asUintN(32, context.args[3]));
  let tables: Target['tables'] = 'self';
  if (foreign >>> 16 !== 0) {
    const owner = (foreign >>> 16) - 1;
    if (owner === 0) tables = 'control';
    else if (owner === DOMID_SELF || owner !== context.domain.id) return undefined;
  }
  const frames = pageOwner(context, foreign & 0xffff);
  return frames === 'nobody' ? undefined : { mm, tables, frames, flush: false };
}

function perform(target: Target): number {
  const kind = request[0] & 7;
  if (kind === abi.MMU_MACHPHYS_UPDATE) return machphys(target);
  if (kind > abi.MMU_PT_UPDATE_NO_TRANSLATE) return -ENOSYS;
  if (target.tables !== 'self' || target.frames === 'control') return -EPERM;
  const { mm } = target;
  const slot = mm.types.getPage((request[0] >>> 12) + request[1] * 0x10_0000);
  if (slot === f.NO_SLOT) return -EINVAL;
  const index = (request[0] & 0xfff) >>> 3;
  const result = write(target, slot, index, request[2], request[3], kind === abi.MMU_PT_UPDATE_PRESERVE_AD);
  mm.types.putPage(slot);
  return result;
}

/** EINVAL: a frame that is no table and cannot be written; frames of the devices' owner only in last-level tables. */
function write(target: Target, slot: number, index: number, low: number, high: number, preserve: boolean): number {
  const { mm } = target;
  const { frames, types } = mm;
  const type = frames.type[slot];
  if (frames.typeCount[slot] !== 0 && (frames.flags[slot] & f.VALIDATED) !== 0) {
    if (type >= f.TYPE_L1 && type <= f.TYPE_L4) return writeTable(target, slot, index, low, high, preserve);
    if (type !== f.TYPE_WRITABLE) return -EINVAL;
    mm.modifier.put(slot, index, low, high);
    return 0;
  }
  if (types.getType(slot, f.TYPE_WRITABLE) !== 0) return -EINVAL;
  mm.modifier.put(slot, index, low, high);
  types.putType(slot);
  return 0;
}

function writeTable(target: Target, slot: number, index: number, low: number, high: number, preserve: boolean): number {
  const { mm } = target;
  const level = mm.frames.type[slot] as Level;
  if (target.frames === 'io') {
    if (level !== 1) return -EINVAL;
    if ((low & P) !== 0) {
      const wrong = mm.validator.takeData(low, high);
      if (wrong !== 0) return wrong === -EBUSY || wrong === -EINVAL ? wrong : -EPERM;
      mm.validator.dropData(low, high);
      return -EBUSY;
    }
  }
  const result = mm.modifier.modify(level, slot, index, low, high, preserve);
  if (result === 0 && level !== 1) target.flush = true;
  return result;
}

/** EPERM: tables or frames of another domain; EINVAL: not the domain's frame. */
function machphys({ mm, tables, frames }: Target): number {
  if (tables !== 'self' || frames === 'control') return -EPERM;
  const mfn = (request[0] >>> 12) + request[1] * 0x10_0000;
  if (frames !== 'self' || mm.frames.slotOf(mfn) === f.NO_SLOT) return -EINVAL;
  mm.xen.setPfn(mfn, request[2], request[3]);
  return 0;
}
