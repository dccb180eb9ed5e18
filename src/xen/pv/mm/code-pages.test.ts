/** Decoded code follows what the hypervisor does to the pages it was decoded from. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as m from '../../../abi/xen/memory.ts';
import * as abi from '../../../abi/xen/mmu.ts';
import { ulong } from '../../../abi/xen/struct.ts';
import {
  __HYPERVISOR_memory_op,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_update_va_mapping,
  DOMID_SELF,
} from '../../../abi/xen/xen.ts';
import * as S from '../../../cpu/state.ts';
import { P, US } from './entries.ts';
import { PvTestMachine } from './testing.ts';

/** `inc %r32; jmp` back to it, by register number; both widths understand it. */
const counter = (register: number): Uint8Array => Uint8Array.of(0xff, 0xc0 | register, 0xeb, 0xfc);
const EAX = 0,
  ECX = 1;
const CODE = 0x8000n;

/** What a register grew by in the next 20 instructions at CODE. */
function counted(t: PvTestMachine, register: number): number {
  const [cpu] = t.machine.cpus;
  cpu.rip = CODE;
  const before = cpu.get32(S.gpr(register));
  cpu.run(20);
  return cpu.get32(S.gpr(register)) - before;
}

for (const width of [64, 32] as const) {
  const make = (): PvTestMachine => {
    const t = new PvTestMachine(width);
    const [cpu] = t.machine.cpus;
    assert.ok(cpu.tryLoadSegment(S.SS, width === 64 ? 0xe02b : 0xe021));
    cpu.setSegment(S.CS, width === 64 ? 0xe033 : 0xe019, 0n, 0xffff_ffff, width === 64 ? 0xaffb : 0xcfbb);
    cpu.updateMode(width === 64 ? 3 : 1);
    t.mm.bytes(t.pages[8]).set(counter(EAX));
    t.mm.bytes(t.pages[9]).set(counter(ECX));
    assert.equal(counted(t, EAX), 10);
    return t;
  };

  test(`PV${width}: code that is copied over, or written as an entry`, () => {
    const t = make();
    const list = t.put(abi.mmuext_op, [
      { cmd: abi.MMUEXT_COPY_PAGE, arg1: BigInt(t.pages[8]), arg2: BigInt(t.pages[9]) },
    ]);
    assert.equal(t.call(__HYPERVISOR_mmuext_op, list, 1, 0, DOMID_SELF), 0);
    assert.equal(counted(t, ECX), 10);
    const code = counter(EAX);
    const val = BigInt(new DataView(code.buffer).getUint32(0, true));
    const writes = t.put(abi.mmu_update, [{ ptr: BigInt(t.pages[8]) << 12n, val }]);
    assert.equal(t.call(__HYPERVISOR_mmu_update, writes, 1, 0, DOMID_SELF), 0);
    assert.equal(counted(t, EAX), 10);
  });

  test(`PV${width}: another page at the same address, after the flush that the guest asks for`, () => {
    const t = make();
    const val = t.entry(t.pages[9], P | US);
    const args = width === 64 ? [val, 2n] : [val & 0xffff_ffffn, val >> 32n, 2n];
    assert.equal(t.call(__HYPERVISOR_update_va_mapping, CODE, ...args), 0);
    assert.equal(counted(t, ECX), 10);
  });

  test(`PV${width}: a page that was given up, and a new one in the same place of linear memory`, () => {
    const t = make();
    const { mm } = t;
    const old = mm.frames.frame[t.pages[8] - mm.frames.base];
    const reservation = { nr_extents: 1n, extent_order: 0, mem_flags: 0, domid: DOMID_SELF };
    const give = (operation: number, frame: number): number => {
      const extent_start = t.put(ulong, [BigInt(frame)], 0x3000n);
      const at = t.put(m.xen_memory_reservation, [{ ...reservation, extent_start }]);
      assert.equal(Number(t.call(__HYPERVISOR_memory_op, operation, at)), 1);
      return Number(t.get(ulong, 0x3000n));
    };
    assert.equal(mm.modifier.modify(1, t.l1 - mm.frames.base, 8, 0, 0, false), 0);
    give(m.XENMEM_decrease_reservation, t.pages[8]);
    const fresh = give(m.XENMEM_populate_physmap, 8);
    assert.equal(mm.frames.frame[fresh - mm.frames.base], old);
    mm.bytes(fresh).set(counter(ECX));
    const val = t.entry(fresh, P | US);
    assert.equal(
      mm.modifier.modify(1, t.l1 - mm.frames.base, 8, Number(val & 0xffff_ffffn), Number(val >> 32n), false),
      0,
    );
    assert.equal(counted(t, ECX), 10);
  });
}
