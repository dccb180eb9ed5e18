import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeElf, makeNote, makePvhKernel } from '../../../tests/support/make-elf.ts';
import { BadInput } from '../bad-input.ts';
import { latin1, viewOf } from '../bytes.ts';
import { buildHvm, type HvmInput } from './hvm.ts';
import type { DomainImage } from './image.ts';
import { openKernel } from './kernel.ts';
import { buildPvh, type PvhInput } from './pvh.ts';

const kernel = openKernel(makePvhKernel(Uint8Array.of(0xf4, 0x90)), () => undefined);
const pvh = (input: Partial<PvhInput> = {}): DomainImage =>
  buildPvh({ kernel, memoryMib: 16, vcpus: 1, maxVcpus: 1, modules: [], ...input });
const hvm = (input: Partial<HvmInput> = {}): DomainImage =>
  buildHvm({ firmware: kernel, memoryMib: 16, vcpus: 1, maxVcpus: 1, modules: [], ...input });
const written = (image: DomainImage, gpa: number): Uint8Array => image.writes.find((write) => write.gpa === gpa)!.bytes;
const code = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof BadInput, String(error));
    return error.code;
  }
  return 'ok';
};

test('PVH: kernel, modules and start info follow each other on page boundaries', () => {
  const image = pvh({
    cmdline: 'console=hvc0',
    modules: [{ bytes: new Uint8Array(5000).fill(7), cmdline: 'initrd' }, { bytes: Uint8Array.of(1) }],
  });
  assert.deepEqual([...written(image, 0x100000)], [0xf4, 0x90]);
  assert.equal(written(image, 0x101000).length, 5000);
  assert.equal(written(image, 0x103000).length, 1);
  assert.equal(image.entry.ebx, 0x104000);
  assert.equal(image.entry.eip, 0x100000);
  const info = written(image, 0x104000);
  const view = viewOf(info);
  assert.equal(view.getUint32(0, true), 0x336ec578);
  assert.equal(view.getUint32(4, true), 1);
  assert.equal(view.getUint32(12, true), 2);
  const word = (at: number): number => Number(view.getBigUint64(at, true));
  assert.equal(word(24), 0x104038);
  assert.equal(latin1(info.subarray(56, 72)), 'console=hvc0\0\0\0\0');
  const modlist = word(16) - 0x104000;
  assert.equal(modlist, 72);
  assert.deepEqual([word(modlist), word(modlist + 8), word(modlist + 16)], [0x101000, 5000, 0x104000 + 72 + 64]);
  assert.deepEqual([word(modlist + 32), word(modlist + 40), word(modlist + 48)], [0x103000, 1, 0]);
  assert.equal(latin1(info.subarray(72 + 64, 72 + 71)), 'initrd\0');
  assert.equal(word(40), 0x104000 + 72 + 64 + 2048);
  assert.equal(view.getUint32(48, true), image.memoryMap.length);
  assert.equal(word(32), image.writes.at(-1)!.gpa);
});

test('PVH: without command line and modules their pointers are null', () => {
  const view = viewOf(written(pvh(), 0x101000));
  assert.deepEqual([view.getBigUint64(16, true), view.getBigUint64(24, true), view.getUint32(12, true)], [0n, 0n, 0]);
});

test('PVH: the memory map has RAM, special pages, three ACPI ranges and RAM from 4 GiB', () => {
  const small = pvh().memoryMap.map(({ start, size, type }) => [start, size, type]);
  assert.deepEqual(small, [
    [0, 16 << 20, 1],
    [0xfeff8000, 0x8000, 2],
    [0xfc002000, 64, 4],
    [0xfc000000, 0x1000, 4],
    [0xfc001000, 0x1000, 4],
  ]);
  const big = pvh({ memoryMib: 4096 });
  assert.deepEqual(big.memoryMap[0], { start: 0, size: 0xfc000000, type: 1 });
  assert.deepEqual(big.memoryMap.at(-1), { start: 2 ** 32, size: 0x4000000, type: 1 });
  assert.deepEqual(big.populate, [
    { start: 0, size: 0xfc000000 },
    { start: 0xfeff8000, size: 0x8000 },
    { start: 0xfc000000, size: 0x3000 },
    { start: 2 ** 32, size: 0x4000000 },
  ]);
});

test('PVH: entry state is flat protected mode without paging', () => {
  const { entry } = pvh();
  assert.equal(entry.cr0, 0x11);
  assert.deepEqual(
    [entry.cs.attributes, entry.ds.attributes, entry.ss.attributes, entry.tr.attributes],
    [0xc9b, 0xc93, 0xc93, 0x8b],
  );
  assert.deepEqual([entry.cs.limit, entry.tr.limit], [0xffffffff, 0x67]);
});

test('PVH: special pages are named by parameters', () => {
  const image = pvh();
  const params = new Map(image.hvmParams);
  assert.deepEqual([params.get(1), params.get(17), params.get(12)], [0xfeffcn, 0xfefffn, 0xfeffe000n]);
  assert.equal(image.storeGfn, 0xfeffc);
  assert.equal(image.consoleGfn, 0xfefff);
  const directory = viewOf(written(image, 0xfeffe000));
  assert.deepEqual([directory.getUint32(0, true), directory.getUint32(4092, true)], [0xe7, 0xffc000e7]);
});

test('PVH: counts, entry note and sizes are checked in that order', () => {
  const plain = openKernel(
    makeElf({
      segments: [
        { paddr: 0x100000, data: Uint8Array.of(1) },
        { type: 4, data: makeNote('Xen', 6, Uint8Array.of(65, 0)) },
      ],
    }),
    () => undefined,
  );
  assert.equal(
    code(() => pvh({ kernel: plain, vcpus: 0, maxVcpus: 0, memoryMib: 0 })),
    'vcpus',
  );
  assert.equal(
    code(() => pvh({ vcpus: 129, maxVcpus: 129 })),
    'vcpus',
  );
  assert.equal(
    code(() => pvh({ vcpus: 128, maxVcpus: 128 })),
    'ok',
  );
  assert.equal(
    code(() => pvh({ vcpus: 3, maxVcpus: 2 })),
    'vcpus',
  );
  assert.equal(
    code(() => pvh({ kernel: plain, memoryMib: 0 })),
    'memory',
  );
  assert.equal(
    code(() => pvh({ kernel: plain, memoryMib: 1 })),
    'no-pvh-entry',
  );
  assert.throws(() => pvh({ kernel: plain }), /its Xen notes are GUEST_OS/);
  assert.equal(
    code(() => pvh({ memoryMib: 1 })),
    'image-too-large',
  );
  assert.equal(
    code(() => pvh({ memoryMib: 2, modules: [{ bytes: new Uint8Array(1 << 20) }] })),
    'memory-too-small',
  );
  assert.equal(
    code(() => pvh({ modules: [{ bytes: data(1), cmdline: 'x'.repeat(1024) }] })),
    'module-cmdline',
  );
});
const data = (length: number): Uint8Array => new Uint8Array(length);

test('HVM: firmware is entered at e_entry with the info table at 0x9f800', () => {
  const firmware = openKernel(
    makeElf({ entry: 0x100004n, segments: [{ paddr: 0x100000, data: data(16) }] }),
    () => undefined,
  );
  const image = hvm({ firmware, vcpus: 3, maxVcpus: 4, memoryMib: 128 });
  assert.equal(image.entry.eip, 0x100004);
  const table = written(image, 0x9f800);
  const view = viewOf(table);
  assert.equal(latin1(table.subarray(0, 8)), 'HVM INFO');
  assert.equal(
    table.reduce((sum, byte) => (sum + byte) & 255, 0),
    0,
  );
  assert.deepEqual([view.getUint32(8, true), table[13], view.getUint32(16, true)], [48, 1, 4]);
  assert.deepEqual(
    [view.getUint32(20, true), view.getUint32(24, true), view.getUint32(28, true)],
    [0x8000, 0xfeff0, 0],
  );
  assert.deepEqual([table[32], table[33]], [7, 0]);
  assert.deepEqual(image.memoryMap, [{ start: 0x100000, size: 127 << 20, type: 1 }]);
  assert.deepEqual(image.populate.slice(0, 2), [
    { start: 0, size: 0xa0000 },
    { start: 0xc0000, size: (128 << 20) - 0xc0000 },
  ]);
});

test('HVM: RAM above 3.75 GiB continues at 4 GiB', () => {
  const image = hvm({ memoryMib: 4000 });
  assert.deepEqual(image.memoryMap.at(-1), { start: 2 ** 32, size: 160 << 20, type: 1 });
  assert.equal(viewOf(written(image, 0x9f800)).getUint32(28, true), 0x100000 + (160 << 8));
});

test('HVM: an entry outside the image, a segment in the VGA hole and too little memory are refused', () => {
  const open = (paddr: number, entry: bigint) =>
    openKernel(makeElf({ entry, segments: [{ paddr, data: data(16) }] }), () => undefined);
  assert.equal(
    code(() => hvm({ memoryMib: 1 })),
    'memory-too-small',
  );
  assert.equal(
    code(() => hvm({ firmware: open(0x100000, 0n) })),
    'hvm-entry',
  );
  assert.equal(
    code(() => hvm({ firmware: open(0x9fff8, 0x9fff8n) })),
    'image-in-hole',
  );
  assert.equal(
    code(() => hvm({ firmware: open(0x2000000, 0x2000000n) })),
    'image-too-large',
  );
});
