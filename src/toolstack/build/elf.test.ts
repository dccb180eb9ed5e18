import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeElf, makeNote, makePvhKernel, u32, u64 } from '../../../tests/support/make-elf.ts';
import { BadInput } from '../bad-input.ts';
import { readElf } from './elf.ts';
import { findNote, noteText, pvhEntry, readXenNotes, wantsLowRsdp } from './notes.ts';

const code = (file: Uint8Array): string => {
  try {
    readElf(file);
  } catch (error) {
    assert.ok(error instanceof BadInput, String(error));
    return error.code;
  }
  return 'ok';
};
const changed = (file: Uint8Array, at: number, ...bytes: number[]): Uint8Array => {
  const copy = file.slice();
  copy.set(bytes, at);
  return copy;
};
const data = Uint8Array.of(1, 2, 3, 4);
const load = (paddr: number, memorySize = 4) => ({ paddr, data, memorySize });

for (const bits of [32, 64] as const) {
  test(`ELF${bits}: segments, entry and extent are read`, () => {
    const file = makeElf({ bits, entry: 0x100002n, segments: [load(0x200000, 0x10), load(0x100000)] });
    const elf = readElf(file);
    assert.equal(elf.bits, bits);
    assert.equal(elf.entry, 0x100002n);
    assert.deepEqual([elf.start, elf.end], [0x100000, 0x200010]);
    assert.deepEqual(
      elf.loadable.map((segment) => [segment.paddr, segment.memorySize, [...segment.data]]),
      [
        [0x200000, 0x10, [1, 2, 3, 4]],
        [0x100000, 4, [1, 2, 3, 4]],
      ],
    );
  });

  test(`ELF${bits}: every way to be no image has its own name`, () => {
    const good = makeElf({ bits, segments: [load(0x100000)] });
    const header = bits === 32 ? 52 : 64;
    assert.equal(code(good), 'ok');
    assert.equal(code(Uint8Array.of()), 'not-elf');
    assert.equal(code(Uint8Array.of(0x7f, 0x45, 0x4c)), 'not-elf');
    assert.equal(code(changed(good, 0, 0x4d)), 'not-elf');
    assert.equal(code(good.subarray(0, 10)), 'truncated-header');
    assert.equal(code(good.subarray(0, header - 1)), 'truncated-header');
    assert.equal(code(changed(good, 4, 3)), 'wrong-class');
    assert.equal(code(changed(good, 5, 2)), 'wrong-byte-order');
    assert.equal(code(makeElf({ bits, type: 1, segments: [load(0)] })), 'wrong-type');
    assert.equal(code(makeElf({ bits, machine: 183, segments: [load(0)] })), 'wrong-machine');
    assert.equal(code(good.subarray(0, header + 10)), 'truncated-program-headers');
    assert.equal(code(good.subarray(0, good.length - 1)), 'truncated-segment');
    assert.equal(code(makeElf({ bits, segments: [load(0x100000, 3)] })), 'oversized-segment');
    assert.equal(code(makeElf({ bits })), 'no-loadable-segment');
    assert.equal(code(makeElf({ bits, segments: [{ type: 4, data }] })), 'no-loadable-segment');
    assert.equal(code(makeElf({ bits, segments: [load(0x1000, 8), load(0x1007)] })), 'overlapping-segments');
    assert.equal(code(makeElf({ bits, segments: [load(0x1000, 8), load(0x1008)] })), 'ok');
  });
}

test('ELF64: a segment outside the physical address space is oversized', () => {
  const file = makeElf({ bits: 64, segments: [load(0x100000)] });
  new DataView(file.buffer).setBigUint64(64 + 24, 0xffffffff80000000n, true);
  assert.equal(code(file), 'oversized-segment');
});

test('ELF: x86-64 code in a 32-bit container is accepted', () => {
  assert.equal(code(makeElf({ bits: 32, machine: 62, segments: [load(0x100000)] })), 'ok');
});

test('ELF: cutting a file anywhere never escapes as another exception', () => {
  const file = makePvhKernel(data, 64);
  for (let length = 0; length < file.length; length++) assert.notEqual(code(file.subarray(0, length)), 'ok');
});

test('Xen notes: found in PT_NOTE by owner; others are passed over', () => {
  const notes = [
    makeNote('GNU', 3, data),
    makeNote(
      'Xen',
      6,
      Uint8Array.from('linux\0', (c) => c.charCodeAt(0)),
    ),
    makeNote('Xen', 18, u32(0x1234)),
  ];
  const file = makeElf({ segments: [load(0x100000), ...notes.map((note) => ({ type: 4, data: note }))] });
  const found = readXenNotes(readElf(file));
  assert.deepEqual(
    found.map((note) => [note.type, note.name]),
    [
      [6, 'GUEST_OS'],
      [18, 'PHYS32_ENTRY'],
    ],
  );
  assert.equal(noteText(findNote(found, 6)!), 'linux');
  assert.equal(pvhEntry(found), 0x1234);
});

test('Xen notes: SHT_NOTE sections are used when no segment has any, and an 8-byte entry works', () => {
  const section = makeNote('Xen', 18, u64(0x2000n));
  const file = makeElf({
    bits: 64,
    segments: [load(0x100000), { type: 4, data: makeNote('GNU', 5, data) }],
    noteSections: [section],
  });
  assert.equal(pvhEntry(readXenNotes(readElf(file))), 0x2000);
});

test('Xen notes: a note that runs past its container has what is there', () => {
  const note = makeNote('Xen', 18, u32(1));
  new DataView(note.buffer).setUint32(4, 400, true);
  const [cut] = readXenNotes(readElf(makeElf({ segments: [load(0x100000), { type: 4, data: note }] })));
  assert.deepEqual([cut?.type, [...cut!.data]], [18, [1, 0, 0, 0]]);
});

test('Xen notes: only a Linux without the unrestricted feature wants its RSDP below 1 MiB', () => {
  const text = (type: number, value: string) => ({
    type: 4,
    data: makeNote(
      'Xen',
      type,
      Uint8Array.from(`${value}\0`, (c) => c.charCodeAt(0)),
    ),
  });
  const low = (...extra: { type: number; data: Uint8Array }[]): boolean =>
    wantsLowRsdp(readXenNotes(readElf(makeElf({ segments: [load(0x100000), ...extra] }))));
  assert.equal(low(), false);
  assert.equal(low(text(6, 'FreeBSD')), false);
  assert.equal(low(text(6, 'linux')), true);
  assert.equal(low(text(6, 'linux'), { type: 4, data: makeNote('Xen', 17, u32(0x8000)) }), false);
  assert.equal(low(text(6, 'linux'), text(10, '!writable_page_tables|linux_rsdp_unrestricted')), false);
});
