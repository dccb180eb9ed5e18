/**
 * Frame accounting: counts every reference and type reference afresh from what holds them (entries of validated tables, roots, pins, GDTs and LDTs, holds of the
 * hypervisor, grant mappings, work that waits) and compares with what the frame table says. Also looks for entries that no guest may
 * have.
 */
import { GNTMAP_device_map, GNTMAP_readonly } from '../../../abi/xen/grant-table.ts';
import { checkBits, frameOf, type Level, P, RW } from './entries.ts';
import * as f from './frame-table.ts';
import type { MmuVcpu, PvMemory } from './pv-memory.ts';
import { isXenL4Slot } from './validate.ts';
import { COMPAT_L2_FIRST_XEN_SLOT } from './xen-tables.ts';

interface Counts {
  readonly refs: Uint32Array;
  readonly types: Uint32Array;
  readonly linear: Int32Array;
  readonly errors: string[];
}

const TYPE_NAMES = ['none', 'L1', 'L2', 'L3', 'L4', 'seg_desc', 'shared', 'writable'];
/** Differences told at most. */
const MOST = 20;

/** What does not agree; empty when everything does. */
export function checkAccounting(mm: PvMemory, vcpus: readonly MmuVcpu[]): string[] {
  const { size } = mm.frames;
  const counts: Counts = {
    refs: new Uint32Array(size),
    types: new Uint32Array(size),
    linear: new Int32Array(size),
    errors: [],
  };
  for (let slot = 0; slot < size; slot++) if (mm.frames.refs[slot] !== 0) countSlot(mm, slot, counts);
  for (const pv of vcpus) countRoots(mm, pv, counts);
  for (const { gdt, ldt } of mm.tables.all())
    for (const slot of [...gdt, ...ldt]) expect(mm, counts, slot, f.TYPE_SEG_DESC);
  for (const [slot, n] of mm.held.held) counts.refs[slot] += n;
  for (const [slot, n] of mm.held.heldWritable) {
    counts.types[slot] += n;
    if (mm.frames.type[slot] !== f.TYPE_WRITABLE) report(mm, counts, slot, 'is held writable');
  }
  countGrants(mm, counts);
  for (const { slot, partial } of mm.deferred.all()) {
    counts.refs[slot]++;
    if (!partial) counts.types[slot]++;
  }
  compare(mm, counts);
  return counts.errors.slice(0, MOST);
}

function report(mm: PvMemory, { errors }: Counts, slot: number, what: string): void {
  errors.push(`frame ${mm.frames.mfnOf(slot)} (${TYPE_NAMES[mm.frames.type[slot]]}): ${what}`);
}

/** One reference with its type. */
function expect(mm: PvMemory, counts: Counts, slot: number, type: number): void {
  if (slot === f.NO_SLOT) return;
  counts.refs[slot]++;
  counts.types[slot]++;
  if (mm.frames.type[slot] !== type) report(mm, counts, slot, `is used as ${TYPE_NAMES[type]}`);
  if ((mm.frames.flags[slot] & f.VALIDATED) === 0) report(mm, counts, slot, 'is used but not validated');
}

function countSlot(mm: PvMemory, slot: number, counts: Counts): void {
  const { frames } = mm;
  const flags = frames.flags[slot];
  const type = frames.type[slot];
  if ((flags & f.ALLOCATED) !== 0) counts.refs[slot]++;
  if ((flags & f.SPECIAL) !== 0) counts.types[slot]++;
  if ((flags & f.PINNED) !== 0) {
    counts.refs[slot]++;
    counts.types[slot]++;
  }
  if ((flags & f.PARTIAL) !== 0) {
    counts.refs[slot]++;
    counts.types[slot]++;
  }
  if (type < f.TYPE_L1 || type > f.TYPE_L4 || frames.typeCount[slot] === 0) return;
  const partial = (flags & f.PARTIAL) !== 0;
  if (!partial && (flags & f.VALIDATED) === 0) report(mm, counts, slot, 'is counted but neither validated nor partial');
  const last = partial ? frames.validated[slot] : 512;
  for (let i = 0; i < last; i++) countEntry(mm, slot, type as Level, i, counts);
  if (partial && frames.childPartial[slot] !== 0) {
    const [low, high] = mm.entryAt(slot, last);
    counts.refs[frameOf(low, high) - frames.base]++;
  }
}

function countEntry(mm: PvMemory, slot: number, level: Level, index: number, counts: Counts): void {
  const { frames, width } = mm;
  if (level === 4 && isXenL4Slot(index, width)) return;
  if (level === 2 && (frames.flags[slot] & f.PAE_XEN_L2) !== 0 && index >= COMPAT_L2_FIRST_XEN_SLOT) return;
  const [low, high] = mm.entryAt(slot, index);
  if ((low & P) === 0) return;
  const mfn = frameOf(low, high);
  const target = frames.slotOf(mfn);
  if (target === f.NO_SLOT) return report(mm, counts, slot, `entry ${index} refers to ${mfn}, not the domain's`);
  const bits = level === 3 && width === 32 ? 0 : checkBits(level, width, low, high);
  if (bits !== 0) report(mm, counts, slot, `entry ${index} has bits ${low & 0xfff}`);
  if (level === 1) {
    counts.refs[target]++;
    if ((low & RW) === 0) return;
    counts.types[target]++;
    if (frames.type[target] !== f.TYPE_WRITABLE)
      report(mm, counts, target, `is mapped writable by ${frames.mfnOf(slot)}`);
    return;
  }
  if (target === slot) {
    if ((low & RW) !== 0) report(mm, counts, slot, 'maps itself writable');
    return;
  }
  const same = frames.type[target] === level;
  if (same && (low & RW) !== 0) report(mm, counts, target, 'is a linear table mapped writable');
  if (same) {
    counts.linear[slot]++;
    counts.linear[target]--;
  }
  expect(mm, counts, target, same ? level : level - 1);
}

function countRoots(mm: PvMemory, { kernelRoot, userRoot }: MmuVcpu, counts: Counts): void {
  if (kernelRoot !== 0) expect(mm, counts, kernelRoot - mm.frames.base, mm.width === 32 ? f.TYPE_L3 : f.TYPE_L4);
  if (userRoot !== undefined) expect(mm, counts, userRoot - mm.frames.base, f.TYPE_L4);
}

/** Device mappings; host mappings are entries, and a pinned reference is a hold. */
function countGrants(mm: PvMemory, counts: Counts): void {
  const { grants } = mm.domain;
  for (const { domid, ref, flags } of grants.mappings.values()) {
    const owner = grants.tableOf(domid);
    if (owner === undefined || (flags & GNTMAP_device_map) === 0) continue;
    const slot = mm.slotOfFrame(owner.activeEntry(ref).frame);
    counts.refs[slot]++;
    if ((flags & GNTMAP_readonly) === 0) counts.types[slot]++;
  }
}

function compare(mm: PvMemory, counts: Counts): void {
  const { frames } = mm;
  let owned = 0;
  for (let slot = 0; slot < frames.size; slot++) {
    if (frames.refs[slot] !== 0 && (frames.flags[slot] & f.SPECIAL) === 0) owned++;
    const dead = frames.refs[slot] === 0;
    const types = dead ? 0 : frames.typeCount[slot];
    if (frames.refs[slot] !== counts.refs[slot])
      report(mm, counts, slot, `has ${frames.refs[slot]} references, counted ${counts.refs[slot]}`);
    if (types !== counts.types[slot])
      report(mm, counts, slot, `has ${types} type references, counted ${counts.types[slot]}`);
    const table = frames.type[slot] >= f.TYPE_L2 && frames.type[slot] <= f.TYPE_L4 && types > 0;
    const partial = (frames.flags[slot] & f.PARTIAL) !== 0;
    if (table && !partial && frames.linear[slot] !== counts.linear[slot])
      report(mm, counts, slot, `has ${frames.linear[slot]} linear entries, counted ${counts.linear[slot]}`);
  }
  if (owned !== mm.domain.p2m.totalPages)
    counts.errors.push(`${owned} frames owned, ${mm.domain.p2m.totalPages} counted`);
}
