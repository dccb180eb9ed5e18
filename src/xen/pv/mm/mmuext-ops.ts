/** The operations of mmuext_op for PV guests, each with its errors (key `xen:arch/x86/mm.c`). */
import { EACCES, EINVAL, ENOSYS, EOPNOTSUPP } from '../../../abi/xen/errno.ts';
import * as abi from '../../../abi/xen/mmu.ts';
import type { ValueOf } from '../../../abi/xen/struct.ts';
import type { HypercallContext } from '../../hypercall.ts';
import { guestAddress } from '../address-space.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import type { Level } from './entries.ts';
import * as f from './frame-table.ts';
import { vcpusOfMask } from './hypercall-common.ts';
import { PARTIAL_WORK } from './page-types.ts';
import type { PvMemory } from './pv-memory.ts';

interface Call {
  readonly context: HypercallContext;
  readonly mm: PvMemory;
  readonly pv: PvVcpu;
  readonly op: ValueOf<typeof abi.mmuext_op>;
}

/** 0, an errno, or {@link PARTIAL_WORK}: the same operation has to be asked for again. */
type Operation = (call: Call) => number;

/** EINVAL: not the domain's frame, not valid as such a table, or pinned already. Fourth-level tables do not exist for 32-bit guests: nothing happens. */
const pin =
  (level: Level): Operation =>
  ({ mm, op }) =>
    level === 4 && mm.width === 32 ? 0 : mm.pinTable(level, Number(op.arg1));

/** EINVAL: not the domain's frame, or not pinned. */
const unpin: Operation = ({ mm, op }) => mm.unpinTable(Number(op.arg1));

/** EINVAL, ERANGE: as {@link Roots.setKernel}. Everything but the translations' absence is as before after an error. */
const newBase: Operation = ({ mm, pv, op }) => {
  const result = mm.switchKernelRoot(pv, Number(op.arg1));
  return result === 'again' ? PARTIAL_WORK : result;
};

/** EINVAL as {@link Roots.setUser}; frame 0: none from now on. The guest is in kernel mode, so nothing is loaded. */
const newUserBase: Operation = ({ mm, pv, op }) => {
  const result = mm.setUserRoot(pv, op.arg1 === 0n ? undefined : Number(op.arg1));
  return result === 'again' ? PARTIAL_WORK : result;
};

const flushLocal: Operation = ({ mm, context }) => {
  mm.tlbs.flush(context.vcpu);
  return 0;
};

const flushAll: Operation = ({ mm }) => {
  mm.tlbs.flushAll();
  return 0;
};

/** EINVAL: the bitmap cannot be read. */
const flushMulti: Operation = ({ context, mm, op }) => {
  const vcpus: number[] = [];
  if (!vcpusOfMask(context, op.arg2, (id) => vcpus.push(id))) return -EINVAL;
  for (const id of vcpus) mm.tlbs.flush(context.domain.vcpus[id]);
  return 0;
};

const invalidateLocal: Operation = ({ context, op }) => {
  context.vcpu.cpu.invalidatePage(op.arg1);
  return 0;
};

const invalidateAll: Operation = ({ mm, op }) => {
  if (guestAddress(op.arg1)) mm.tlbs.flushPageAll(op.arg1);
  return 0;
};

/** EINVAL: the bitmap cannot be read. Addresses that no guest may name are passed over. */
const invalidateMulti: Operation = ({ context, op }) => {
  const vcpus: number[] = [];
  if (!vcpusOfMask(context, op.arg2, (id) => vcpus.push(id))) return -EINVAL;
  if (guestAddress(op.arg1)) for (const id of vcpus) context.domain.vcpus[id].cpu.invalidatePage(op.arg1);
  return 0;
};

/** EACCES: only for domains with devices. */
const flushCache: Operation = () => -EACCES;

/** EINVAL as {@link DescriptorTables.setLdt}. The number of entries is 32 bits wide. */
const setLdt: Operation = ({ mm, pv, op }) => mm.setLdt(pv, op.arg1, Number(BigInt.asUintN(32, op.arg2)));

/** EINVAL: not the domain's frame, or it cannot be written. */
const clearPage: Operation = ({ mm, op }) => {
  const mfn = Number(op.arg1);
  if (mm.take(mfn, f.TYPE_WRITABLE) !== 0) return -EINVAL;
  mm.bytes(mfn).fill(0);
  mm.modifier.onWrite(mfn, 0, 4096);
  mm.types.putPageAndType(mfn - mm.frames.base);
  return 0;
};

/** EINVAL: the source is not the domain's frame; then as {@link clearPage} for the target. */
const copyPage: Operation = ({ mm, op }) => {
  const mfn = Number(op.arg1);
  if (mm.frames.slotOf(Number(op.arg2)) === f.NO_SLOT || mm.take(mfn, f.TYPE_WRITABLE) !== 0) return -EINVAL;
  mm.bytes(mfn).set(mm.bytes(Number(op.arg2)));
  mm.modifier.onWrite(mfn, 0, 4096);
  mm.types.putPageAndType(mfn - mm.frames.base);
  return 0;
};

const unsupported: Operation = () => -EOPNOTSUPP;

const OPERATIONS: Readonly<Record<number, Operation>> = {
  [abi.MMUEXT_PIN_L1_TABLE]: pin(1),
  [abi.MMUEXT_PIN_L2_TABLE]: pin(2),
  [abi.MMUEXT_PIN_L3_TABLE]: pin(3),
  [abi.MMUEXT_PIN_L4_TABLE]: pin(4),
  [abi.MMUEXT_UNPIN_TABLE]: unpin,
  [abi.MMUEXT_NEW_BASEPTR]: newBase,
  [abi.MMUEXT_TLB_FLUSH_LOCAL]: flushLocal,
  [abi.MMUEXT_INVLPG_LOCAL]: invalidateLocal,
  [abi.MMUEXT_TLB_FLUSH_MULTI]: flushMulti,
  [abi.MMUEXT_INVLPG_MULTI]: invalidateMulti,
  [abi.MMUEXT_TLB_FLUSH_ALL]: flushAll,
  [abi.MMUEXT_INVLPG_ALL]: invalidateAll,
  [abi.MMUEXT_FLUSH_CACHE]: flushCache,
  [abi.MMUEXT_SET_LDT]: setLdt,
  [abi.MMUEXT_NEW_USER_BASEPTR]: newUserBase,
  [abi.MMUEXT_CLEAR_PAGE]: clearPage,
  [abi.MMUEXT_COPY_PAGE]: copyPage,
  [abi.MMUEXT_FLUSH_CACHE_GLOBAL]: flushCache,
  [abi.MMUEXT_MARK_SUPER]: unsupported,
  [abi.MMUEXT_UNMARK_SUPER]: unsupported,
};

/** ENOSYS: no such operation; else its own answer. */
export function performMmuext(
  context: HypercallContext,
  mm: PvMemory,
  pv: PvVcpu,
  op: ValueOf<typeof abi.mmuext_op>,
): number {
  return OPERATIONS[op.cmd]?.({ context, mm, pv, op }) ?? -ENOSYS;
}
