/** For tests: the operations of {@link RandomGuest}, each with valid and malicious arguments. */
import * as g from '../../../abi/xen/grant-table.ts';
import * as m from '../../../abi/xen/memory.ts';
import * as abi from '../../../abi/xen/mmu.ts';
import { u32, ulong } from '../../../abi/xen/struct.ts';
import * as x from '../../../abi/xen/xen.ts';
import { frameOf, P } from './entries.ts';
import * as f from './frame-table.ts';
import type { RandomGuest } from './random-guest.ts';

type Operation = (guest: RandomGuest) => void;

const SELF = BigInt(x.DOMID_SELF);

/** Which domain: mostly the caller. */
const domid = (guest: RandomGuest): bigint => (guest.chance(95) ? SELF : guest.pick([0n, 1n, 7n, BigInt(x.DOMID_IO)]));

const mmuUpdate: Operation = (guest) => {
  const count = 1 + guest.draw(4);
  let list = 0n;
  for (let i = 0; i < count; i++) {
    const kind = guest.chance(90) ? 0n : BigInt(guest.draw(8));
    const ptr = (BigInt(guest.mfn()) << 12n) | BigInt(guest.index() * 8) | kind;
    const at = guest.arg(abi.mmu_update, { ptr, val: kind === 1n ? BigInt(guest.draw(4096)) : guest.value() });
    if (i === 0) list = at;
  }
  const done = guest.chance(50) ? guest.arg(u32, 0) : 0n;
  guest.call(guest.vcpu(), x.__HYPERVISOR_mmu_update, [list, BigInt(count), done, domid(guest)]);
};

const updateVa: Operation = (guest) => {
  const value = guest.value();
  const flags = guest.pick([0n, 1n, 2n, 5n, 6n, 3n]);
  const args =
    guest.t.width === 64 ? [guest.linear(), value, flags] : [guest.linear(), value & 0xffff_ffffn, value >> 32n, flags];
  guest.call(guest.vcpu(), x.__HYPERVISOR_update_va_mapping, args);
};

const mmuext: Operation = (guest) => {
  const pv = guest.vcpu();
  const cmd = guest.chance(75) ? guest.pick([0, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 15, 15, 16, 17]) : guest.draw(22);
  const arg1 = cmd === abi.MMUEXT_SET_LDT ? guest.linear() & ~0xfffn : BigInt(guest.mfn());
  const arg2 = cmd === abi.MMUEXT_COPY_PAGE ? BigInt(guest.mfn()) : BigInt(guest.draw(1100));
  const zero = cmd === abi.MMUEXT_NEW_USER_BASEPTR && guest.chance(30);
  const list = guest.arg(abi.mmuext_op, { cmd, arg1: zero ? 0n : arg1, arg2 });
  guest.call(pv, x.__HYPERVISOR_mmuext_op, [list, 1n, 0n, domid(guest)]);
};

const setGdt: Operation = (guest) => {
  const entries = guest.pick([0, 1, 512, 513, 1024, 7168, 7169]);
  let list = 0n;
  for (let i = 0; i < Math.min(14, Math.ceil(entries / 512)); i++) {
    const at = guest.arg(ulong, BigInt(guest.mfn()));
    if (i === 0) list = at;
  }
  guest.call(guest.vcpu(), x.__HYPERVISOR_set_gdt, [list, BigInt(entries)]);
};

const updateDescriptor: Operation = (guest) => {
  const address = (BigInt(guest.mfn()) << 12n) + BigInt(guest.draw(512) * 8 + (guest.chance(5) ? 4 : 0));
  const low = BigInt(guest.draw(0x7fff_ffff));
  const high = BigInt(guest.pick([0, 0x00cf_9b00, 0x00cf_f300, 0x00af_fb00, 0xec00, guest.draw(0x7fff_ffff)]));
  const args =
    guest.t.width === 64 ? [address, (high << 32n) | low] : [address & 0xffff_ffffn, address >> 32n, low, high];
  guest.call(guest.vcpu(), x.__HYPERVISOR_update_descriptor, args);
};

const reservationOf = (guest: RandomGuest, order: number): Parameters<typeof m.xen_memory_reservation.write>[2] => ({
  extent_start: guest.arg(ulong, BigInt(guest.mfn())),
  nr_extents: 1n,
  extent_order: order,
  mem_flags: 0,
  domid: x.DOMID_SELF,
});

const memory: Operation = (guest) => {
  const order = guest.chance(85) ? 0 : guest.draw(4);
  const sub = guest.pick([m.XENMEM_increase_reservation, m.XENMEM_decrease_reservation, m.XENMEM_populate_physmap]);
  const at = guest.arg(m.xen_memory_reservation, reservationOf(guest, order));
  guest.call(guest.vcpu(), x.__HYPERVISOR_memory_op, [BigInt(sub), at]);
};

const exchange: Operation = (guest) => {
  const order = guest.chance(70) ? 0 : 1;
  const inOrder = reservationOf(guest, order);
  const outOrder = { ...reservationOf(guest, order) };
  const at = guest.arg(m.xen_memory_exchange, { in: inOrder, out: outOrder, nr_exchanged: 0n });
  guest.call(guest.vcpu(), x.__HYPERVISOR_memory_op, [BigInt(m.XENMEM_exchange), at]);
};

/** Grants a frame to itself. */
const grant: Operation = (guest) => {
  const { grants } = guest.t.domain;
  const ref = 8 + guest.draw(8);
  const { view, at } = grants.locate(ref);
  const flags = guest.pick([1, 1, 1, 1, 5, 0, 2]);
  if (grants.version !== 1) return;
  g.grant_entry_v1.write(view, at, { flags, domid: guest.chance(95) ? 1 : 3, frame: guest.mfn() }, 'native');
};

/** Where a host mapping may go. */
function hostAddress(guest: RandomGuest, flags: number): bigint {
  if ((flags & g.GNTMAP_contains_pte) === 0) return guest.linear();
  return (BigInt(guest.mfn()) << 12n) + BigInt(guest.index() * 8 + (guest.chance(3) ? 2 : 0));
}

const mapGrant: Operation = (guest) => {
  const flags = guest.pick([2, 2, 2, 3, 1, 6, 7, 10, 18, 19, 22, 0]);
  const ref = 8 + guest.draw(9);
  const dom = guest.chance(95) ? 1 : guest.pick([0, 5, x.DOMID_SELF]);
  const host_addr = hostAddress(guest, flags);
  const at = guest.arg(g.gnttab_map_grant_ref, { host_addr, flags, ref, dom, status: 0, handle: 0, dev_bus_addr: 0n });
  guest.call(guest.vcpu(), x.__HYPERVISOR_grant_table_op, [0n, at, 1n]);
};

const unmapGrant: Operation = (guest) => {
  const { mappings } = guest.t.domain.grants;
  const handle = mappings.size > 0 && guest.chance(95) ? guest.pick([...mappings.keys()]) : guest.draw(64);
  const flags = mappings.get(handle)?.flags ?? 0;
  const found = guest.chance(60) ? findMapping(guest, handle) : undefined;
  const host_addr = found ?? hostAddress(guest, flags);
  const dev_bus_addr = guest.chance(50) ? deviceAddress(guest, handle) : 0n;
  if (guest.chance(80)) {
    const at = guest.arg(g.gnttab_unmap_grant_ref, { host_addr, dev_bus_addr, handle, status: 0 });
    guest.call(guest.vcpu(), x.__HYPERVISOR_grant_table_op, [1n, at, 1n]);
  } else {
    const new_addr = guest.linear();
    const at = guest.arg(g.gnttab_unmap_and_replace, { host_addr, new_addr, handle, status: 0 });
    guest.call(guest.vcpu(), x.__HYPERVISOR_grant_table_op, [7n, at, 1n]);
  }
};

function grantedMfn(guest: RandomGuest, handle: number): number {
  const { grants } = guest.t.domain;
  const mapping = grants.mappings.get(handle);
  if (mapping === undefined) return 0;
  return guest.t.mm.frames.mfnOf(guest.t.mm.slotOfFrame(grants.activeEntry(mapping.ref).frame));
}

const deviceAddress = (guest: RandomGuest, handle: number): bigint =>
  guest.chance(90) ? BigInt(grantedMfn(guest, handle)) << 12n : 0x1000n;

/** An entry that maps the granted frame of a mapping, by address or by its machine address. */
function findMapping(guest: RandomGuest, handle: number): bigint | undefined {
  const { mm } = guest.t;
  const mfn = grantedMfn(guest, handle);
  const flags = guest.t.domain.grants.mappings.get(handle)?.flags ?? 0;
  for (let slot = 0; slot < mm.frames.size; slot++) {
    if (mm.frames.type[slot] !== f.TYPE_L1 || mm.frames.typeCount[slot] === 0) continue;
    for (let index = 0; index < 128; index++) {
      const [low, high] = mm.entryAt(slot, index);
      if ((low & P) === 0 || frameOf(low, high) !== mfn) continue;
      if ((flags & g.GNTMAP_contains_pte) !== 0) return (BigInt(mm.frames.mfnOf(slot)) << 12n) + BigInt(index * 8);
      const linear = BigInt(index) << 12n;
      if (mm.linear.tableOf(mm.roots.current(guest.t.vcpu), linear) === slot) return linear;
    }
  }
  return undefined;
}

const copyGrant: Operation = (guest) => {
  const side = (): { u: { ref?: number; gmfn?: bigint }; domid: number; offset: number } =>
    guest.chance(50)
      ? { u: { ref: 8 + guest.draw(9) }, domid: 1, offset: guest.draw(4096) }
      : { u: { gmfn: BigInt(guest.mfn()) }, domid: x.DOMID_SELF, offset: guest.draw(4096) };
  const source = side();
  const dest = side();
  const flags = (source.u.ref === undefined ? 0 : 1) | (dest.u.ref === undefined ? 0 : 2);
  const at = guest.arg(g.gnttab_copy, { source, dest, len: guest.draw(600), flags, status: 0 } as never);
  guest.call(guest.vcpu(), x.__HYPERVISOR_grant_table_op, [5n, at, 1n]);
};

const transfer: Operation = (guest) => {
  const at = guest.arg(g.gnttab_transfer, {
    mfn: BigInt(guest.mfn()),
    domid: guest.chance(90) ? 1 : guest.pick([0, 9]),
    ref: 8 + guest.draw(9),
    status: 0,
  });
  guest.call(guest.vcpu(), x.__HYPERVISOR_grant_table_op, [4n, at, 1n]);
};

const setVersion: Operation = (guest) => {
  const at = guest.arg(g.gnttab_set_version, { version: 1 + guest.draw(2) });
  guest.call(guest.vcpu(), x.__HYPERVISOR_grant_table_op, [8n, at, 1n]);
};

/** A faulting store to a table, or to the LDT window. */
const fault: Operation = (guest) => {
  const { mm } = guest.t;
  const pv = guest.vcpu();
  mm.enter(pv.vcpu);
  const linear = guest.chance(80) ? guest.linear() : mm.ldtBase(pv) + BigInt(guest.draw(0x10000));
  if (mm.pageFault(pv, linear, 7) !== 'table-write') return;
  const size = guest.pick([1, 2, 4, 4, 8, 8, 8, 8]);
  const value = BigInt.asUintN(size * 8, guest.value());
  const expected = guest.chance(70) ? undefined : BigInt.asUintN(size * 8, guest.value());
  mm.writeTable(pv, guest.chance(95) ? linear & ~BigInt(size - 1) : linear, size, value, expected);
};

/** A page of plausible entries where the guest may write. */
const fill: Operation = (guest) => {
  const { mm } = guest.t;
  const mfn = guest.mfn();
  const slot = mm.frames.slotOf(mfn);
  if (slot === f.NO_SLOT || (mm.frames.flags[slot] & f.SPECIAL) !== 0) return;
  if (mm.frames.typeCount[slot] !== 0 && mm.frames.type[slot] !== f.TYPE_WRITABLE) return;
  if (guest.chance(30)) mm.bytes(mfn).fill(0);
  for (let i = 0; i < 1 + guest.draw(4); i++) guest.t.poke(mfn, guest.index(), guest.value());
};

/** A whole small address space in pages that are no tables yet, pinned and used: so that it does not end in ruins. */
const plant: Operation = (guest) => {
  const { t } = guest;
  const free = (): number | undefined => {
    for (let tries = 0; tries < 30; tries++) {
      const slot = t.mm.frames.slotOf(guest.mfn());
      if (slot !== f.NO_SLOT && t.mm.frames.typeCount[slot] === 0 && (t.mm.frames.flags[slot] & f.SPECIAL) === 0)
        return t.mm.frames.mfnOf(slot);
    }
    return undefined;
  };
  const tables = [free(), free(), free(), free()];
  if (new Set(tables).size < 4 || tables.includes(undefined)) return;
  const [l1, l2, l3, root] = tables as number[];
  for (const mfn of [l1, l2, l3, root]) t.mm.bytes(mfn).fill(0);
  for (let index = 0; index < 112; index++) {
    const mfn = guest.mfn();
    const type = t.mm.typeOf(mfn);
    const table = tables.includes(mfn) || (type >= f.TYPE_L1 && type <= f.TYPE_SEG_DESC);
    if (t.mm.frames.slotOf(mfn) !== f.NO_SLOT) t.poke(l1, index, t.entry(mfn, table ? 5 : 7));
  }
  t.poke(l2, 0, t.entry(l1, 7));
  if (t.width === 64) {
    t.poke(l3, 0, t.entry(l2, 7));
    t.poke(root, 0, t.entry(l3, 7));
  } else {
    t.poke(root, 0, t.entry(l2, 1));
    t.poke(root, 3, t.entry(l3, 1));
  }
  const pin = t.width === 64 ? abi.MMUEXT_PIN_L4_TABLE : abi.MMUEXT_PIN_L3_TABLE;
  const list = guest.arg(abi.mmuext_op, { cmd: pin, arg1: BigInt(root), arg2: 0n });
  guest.arg(abi.mmuext_op, { cmd: abi.MMUEXT_NEW_BASEPTR, arg1: BigInt(root), arg2: 0n });
  guest.call(guest.vcpu(), x.__HYPERVISOR_mmuext_op, [list, guest.chance(80) ? 2n : 1n, 0n, SELF]);
};

/** The guest reads and writes memory, which fills its TLB. */
const touch: Operation = (guest) => {
  const { id } = guest.vcpu().vcpu;
  for (let i = 0; i < 4; i++) {
    const linear = guest.linear();
    if (guest.chance(50)) guest.t.touch(linear, undefined, id);
    else guest.t.touch((linear & ~0xfffn) | 0x800n, guest.draw(256), id);
  }
};

/** The guest writes a page, takes its mappings away without a flush, and makes it a table or gives it up: could it still write it? */
const attack: Operation = (guest) => {
  const { t } = guest;
  const { frames } = t.mm;
  const linear = BigInt(guest.draw(112)) << 12n;
  const table = t.mm.linear.tableOf(t.mm.roots.current(t.vcpu), linear);
  if (table === f.NO_SLOT || !t.touch(linear | 0x800n, 0)) return;
  const [low, high] = t.mm.entryAt(table, Number(linear >> 12n) & 511);
  const mfn = frameOf(low, high);
  for (let slot = 0; slot < frames.size; slot++) {
    if (frames.type[slot] !== f.TYPE_L1 || frames.typeCount[slot] === 0) continue;
    for (let index = 0; index < 512; index++) {
      const entry = t.mm.entryAt(slot, index);
      if ((entry[0] & P) === 0 || frameOf(entry[0], entry[1]) !== mfn) continue;
      guest.begin();
      const ptr = (BigInt(frames.mfnOf(slot)) << 12n) | BigInt(index * 8);
      guest.call(t.vcpu, x.__HYPERVISOR_mmu_update, [guest.arg(abi.mmu_update, { ptr, val: 0n }), 1n, 0n, SELF]);
    }
  }
  guest.begin();
  guest.attacked = true;
  if (guest.chance(70)) {
    if (frames.slotOf(mfn) !== f.NO_SLOT && guest.chance(80)) t.mm.bytes(mfn).fill(0);
    const cmd = guest.pick([abi.MMUEXT_PIN_L1_TABLE, abi.MMUEXT_PIN_L2_TABLE, abi.MMUEXT_PIN_L4_TABLE]);
    const list = guest.arg(abi.mmuext_op, { cmd, arg1: BigInt(mfn), arg2: 0n });
    guest.call(t.vcpu, x.__HYPERVISOR_mmuext_op, [list, 1n, 0n, SELF]);
  } else {
    const list = { ...reservationOf(guest, 0), extent_start: guest.arg(ulong, BigInt(mfn)) };
    const at = guest.arg(m.xen_memory_reservation, list);
    guest.call(t.vcpu, x.__HYPERVISOR_memory_op, [BigInt(m.XENMEM_decrease_reservation), at]);
  }
};

/** The hypervisor uses a page for itself, or not any more. */
const hold: Operation = (guest) => {
  const { held } = guest.t.mm;
  const writable = [...held.heldWritable.keys()];
  if (writable.length > 2 || (writable.length > 0 && guest.chance(50))) {
    held.releaseWritable(guest.t.mm.frames.frame[guest.pick(writable)]);
    return;
  }
  const frame = held.frameAt(guest.mfn());
  if (frame !== 0) held.holdWritable(frame);
};

/** From now on work is interrupted wherever it can be, or not. */
const event: Operation = (guest) => {
  const { info } = guest.t.domain;
  for (const { vcpu } of guest.t.pv.vcpus) {
    const view = info.vcpuInfo(vcpu.id, 'vcpu_mark_events_pending', 'update');
    view.setUint8(0, guest.chance(30) ? 1 : 0);
    view.setUint8(1, 0);
  }
};

/** By weight. */
const OPERATIONS: readonly (readonly [weight: number, operation: Operation])[] = [
  [20, mmuUpdate],
  [12, updateVa],
  [24, mmuext],
  [4, setGdt],
  [5, updateDescriptor],
  [5, memory],
  [3, exchange],
  [4, grant],
  [7, mapGrant],
  [6, unmapGrant],
  [3, copyGrant],
  [1, transfer],
  [1, setVersion],
  [8, fault],
  [14, fill],
  [2, plant],
  [2, attack],
  [8, touch],
  [2, hold],
  [2, event],
];
const TOTAL = OPERATIONS.reduce((sum, [weight]) => sum + weight, 0);

/** One random operation. */
export function step(guest: RandomGuest): void {
  guest.begin();
  let at = guest.draw(TOTAL);
  for (const [weight, operation] of OPERATIONS) {
    if (at < weight) {
      operation(guest);
      return;
    }
    at -= weight;
  }
}
