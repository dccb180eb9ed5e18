import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MmioBus } from './mmio.ts';
import { PioBus } from './pio.ts';
import { wholeRegisters } from './ranges.ts';

test('PioBus: an access reaches the range that holds all of it, with the offset inside the range', () => {
  const bus = new PioBus();
  const log: unknown[] = [];
  bus.claim(0x70, 2, { name: 'a', read: (o, s) => o * 16 + s, write: (...args) => void log.push(args) });
  assert.equal(bus.in(0x71, 1), 0x11);
  assert.equal(bus.in(0x70, 2), 2);
  assert.equal(bus.in(0x71, 2), 0xffff);
  bus.out(0x70, 1, 0x1ff);
  assert.deepEqual(log, [[0, 1, 0xff]]);
});

test('PioBus: unclaimed reads give all ones, unclaimed writes nothing, and both are counted', () => {
  const bus = new PioBus();
  assert.equal(bus.in(0x1234, 1), 0xff);
  assert.equal(bus.in(0x1234, 4), 0xffff_ffff);
  bus.out(0x1234, 2, 1);
  assert.deepEqual(bus.unclaimed.get(0x1234), { reads: 2, writes: 1 });
});

test('MmioBus: a handler may decline, and that counts as unclaimed', () => {
  const bus = new MmioBus();
  bus.claim(0xfee0_0000, 0x1000, { name: 'lapic', read: () => undefined, write: () => false });
  assert.equal(bus.mmioRead(0xfee0_0020, 4), 0xffff_ffff);
  bus.mmioWrite(0xfee0_0020, 4, 0);
  assert.deepEqual(bus.unclaimed.get(0xfee0_0020), { reads: 1, writes: 1 });
});

test('RangeBus: overlapping claims are refused; a claim can be moved and released', () => {
  const bus = new PioBus();
  const claim = bus.claim(0x1f40, 4, { name: 'pm', read: () => 7 });
  assert.throws(() => bus.claim(0x1f43, 1, { name: 'x' }), /overlaps pm/);
  claim.move(0xb000);
  assert.equal(bus.in(0x1f40, 4), 0xffff_ffff);
  assert.equal(bus.in(0xb000, 4), 7);
  claim.release();
  assert.equal(bus.in(0xb000, 4), 0xffff_ffff);
});

test('wholeRegisters: narrow and wide accesses become whole-register ones', () => {
  const registers = new Map<number, number>([
    [0, 0x44332211],
    [4, 0x88776655],
  ]);
  const bus = new MmioBus();
  bus.claim(
    0,
    8,
    wholeRegisters('regs', 4, {
      readRegister: (o) => registers.get(o) ?? 0,
      writeRegister: (o, v) => void registers.set(o, v),
    }),
  );
  assert.equal(bus.mmioRead(1, 2), 0x3322);
  assert.equal(bus.mmioRead(2, 4), 0x66554433);
  bus.mmioWrite(3, 2, 0xbbaa);
  assert.equal(registers.get(0), 0xaa332211);
  assert.equal(registers.get(4), 0x887766bb);
});
