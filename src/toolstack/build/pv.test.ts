import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeNote, makePvhKernel, makePvKernel, type PvRecipe, u32, u64 } from '../../../tests/support/make-elf.ts';
import { start_info } from '../../abi/xen/start-info.ts';
import { decode } from '../../abi/xen/struct.ts';
import { vcpu_guest_context_32, vcpu_guest_context_64 } from '../../abi/xen/vcpu-guest-context.ts';
import { BadInput } from '../bad-input.ts';
import { latin1, viewOf } from '../bytes.ts';
import { openKernel } from './kernel.ts';
import { buildPv, hasPvEntry, type PvInput } from './pv.ts';
import { type PvContents, type PvImage, pvContents } from './pv-image.ts';

const KERNEL_BASE = 0xffff_ffff_8000_0000n;
const kernelOf = (bits: 32 | 64, recipe: PvRecipe = {}): PvInput['kernel'] =>
  openKernel(makePvKernel(bits, recipe), () => undefined);
const build = (bits: 32 | 64, recipe: PvRecipe = {}, input: Partial<PvInput> = {}): PvImage =>
  buildPv({ kernel: kernelOf(bits, recipe), memoryMib: 16, vcpus: 1, maxVcpus: 1, modules: [], ...input });
/** Machine frames in an order of their own. */
const machineFrame = (pfn: number): number => 0x2000 + (pfn ^ 5);
const fill = (image: PvImage): PvContents =>
  pvContents(image, { machineFrame, sharedInfo: 0x777, storePort: 1, consolePort: 2 });
const note = (type: number, value: string | bigint): Uint8Array =>
  makeNote('Xen', type, typeof value === 'bigint' ? u64(value) : Uint8Array.from(`${value}\0`, (c) => c.charCodeAt(0)));
const code = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof BadInput, String(error));
    return error.code;
  }
  return 'ok';
};
const infoOf = (image: PvImage) =>
  decode(
    start_info,
    fill(image).writes.find(({ gpa }) => gpa === image.startInfo * 4096)!.bytes,
    image.type === 'pv64' ? 'native' : 'compat',
  );

/** Leaf entry that the initial tables have for an address, 0n where there is none. */
function walk(image: PvImage, address: bigint): bigint {
  const tables = new Map(fill(image).writes.map(({ gpa, bytes }) => [machineFrame(gpa / 4096), bytes]));
  let frame = machineFrame(image.tables[0]!.pfn);
  for (let level = image.type === 'pv64' ? 4 : 3; ; level--) {
    const entry = viewOf(tables.get(frame)!).getBigUint64(8 * Number((address >> BigInt(3 + 9 * level)) & 511n), true);
    if (level === 1 || (entry & 1n) === 0n) return entry;
    frame = Number(entry >> 12n);
  }
}

test('PV64: kernel, P2M list, start info, rings, page tables and boot stack follow each other, all mapped', () => {
  const image = build(64, { notes: [note(3, KERNEL_BASE), note(1, KERNEL_BASE + 0x100000n)] });
  const first = 0x103;
  // 4096 pages: a list of 8 pages, then one L4, L3, L2 and two or three L1.
  assert.deepEqual(
    [image.p2m, image.startInfo, image.store, image.console, image.tables[0]!.pfn],
    [first, first + 8, first + 9, first + 10, first + 11],
  );
  assert.deepEqual(
    image.tables.map(({ level }) => level),
    [4, 3, 2, 1, 1],
  );
  const at = (pfn: number): bigint => KERNEL_BASE + BigInt(pfn * 4096);
  for (const pfn of [0, 0x100, first, image.startInfo, image.tables[0]!.pfn + 6, 0x3ff])
    assert.equal(walk(image, at(pfn)) >> 12n, BigInt(machineFrame(pfn)), `frame ${pfn}`);
  assert.equal(walk(image, at(0x400)), 0n);
  assert.equal(walk(image, at(0x100)) & 0xfffn, 0x23n);
  assert.equal(walk(image, at(image.tables[0]!.pfn)) & 0xfffn, 0x21n);
});

test('PV64: start info and registers', () => {
  const image = build(
    64,
    { notes: [note(3, KERNEL_BASE), note(1, KERNEL_BASE + 0x100010n)] },
    { cmdline: 'console=hvc0', maxVcpus: 4 },
  );
  const info = infoOf(image);
  assert.match(latin1(info.magic), /^xen-3\.0-x86_64\0/);
  assert.deepEqual(
    [info.nr_pages, info.shared_info, info.flags, info.store_evtchn, info.console_evtchn, info.nr_pt_frames],
    [4096n, 0x777000n, 0, 1, 2, 5n],
  );
  assert.equal(info.store_mfn, BigInt(machineFrame(image.store)));
  assert.equal(info.console_mfn, BigInt(machineFrame(image.console)));
  assert.equal(info.pt_base, KERNEL_BASE + BigInt(image.tables[0]!.pfn * 4096));
  assert.equal(info.mfn_list, KERNEL_BASE + BigInt(image.p2m * 4096));
  assert.match(latin1(info.cmd_line), /^console=hvc0\0/);
  const context = decode(vcpu_guest_context_64, fill(image).context, 'native');
  const { rip, rsp, rsi, rflags, cs, ss, ds } = context.user_regs;
  assert.equal(rip, KERNEL_BASE + 0x100010n);
  assert.equal(rsi, KERNEL_BASE + BigInt(image.startInfo * 4096));
  assert.equal(rsp, KERNEL_BASE + BigInt((image.tables[0]!.pfn + image.tables.length + 1) * 4096));
  assert.deepEqual([rflags, cs, ss, ds, context.flags], [0x200n, 0xe033, 0xe02b, 0, 0x24n]);
  assert.equal(context.ctrlreg[3], BigInt(machineFrame(image.tables[0]!.pfn)) << 12n);
  assert.deepEqual([context.kernel_ss, context.kernel_sp], [0xe02bn, rsp]);
});

test('PV32: three levels with an L2 for every quarter of the address space above, and 4-byte frame numbers', () => {
  const image = build(32, {}, { cmdline: 'x' });
  assert.deepEqual(
    image.tables.map(({ level }) => level),
    [3, 2, 2, 2, 2, 1, 1],
  );
  const list = fill(image).writes.find(({ gpa }) => gpa === image.p2m * 4096)!.bytes;
  assert.equal(list.length, 4096 * 4);
  assert.equal(viewOf(list).getUint32(4 * 9, true), machineFrame(9));
  assert.equal(walk(image, 0x100000n) >> 12n, BigInt(machineFrame(0x100)));
  const info = infoOf(image);
  assert.match(latin1(info.magic), /^xen-3\.0-x86_32p\0/);
  assert.match(latin1(info.cmd_line), /^x\0/);
  const context = decode(vcpu_guest_context_32, fill(image).context, 'compat');
  const { eip, cs, ss, ds, gs } = context.user_regs;
  assert.deepEqual([eip, cs, ss, ds, gs], [0x100000, 0xe019, 0xe021, 0xe021, 0xe021]);
  assert.equal(context.ctrlreg[3], BigInt(machineFrame(image.tables[0]!.pfn)) << 12n);
  assert.equal(context.vm_assist, 8n);
});

test('PV32: a kernel in the last quarter has one L2', () => {
  const image = build(32, { notes: [note(3, 0xc000_0000n)], entry: 0xc010_0000n });
  assert.deepEqual(
    image.tables.map(({ level, index }) => [level, index]),
    [
      [3, 0],
      [2, 3],
      [1, 1536],
      [1, 1537],
    ],
  );
  assert.equal(walk(image, 0xc010_0000n) >> 12n, BigInt(machineFrame(0x100)));
});

test('ramdisk: mapped behind the kernel, or by frame number behind the mapping when the kernel says so', () => {
  const modules = [{ bytes: new Uint8Array(5000).fill(7) }];
  const mapped = build(64, {}, { modules });
  assert.equal(mapped.writes.at(-1)!.gpa, 0x103000);
  assert.deepEqual([infoOf(mapped).mod_start, infoOf(mapped).mod_len, infoOf(mapped).flags], [0x103000n, 5000n, 0]);
  assert.equal(mapped.p2m, 0x105);
  const unmapped = build(64, { notes: [note(16, 1n)] }, { modules });
  assert.equal(unmapped.writes.at(-1)!.gpa, 0x400000);
  assert.deepEqual([infoOf(unmapped).mod_start, infoOf(unmapped).mod_len, infoOf(unmapped).flags], [0x400n, 8192n, 8]);
  assert.equal(unmapped.p2m, 0x103);
});

test('INIT_P2M: the list lies behind the mapping and has tables of its own, which are not mapped', () => {
  const base = 0x80_0000_0000n;
  const image = build(64, {
    notes: [note(3, KERNEL_BASE), note(1, KERNEL_BASE + 0x100000n), note(15, base)],
  });
  const info = infoOf(image);
  assert.equal(info.mfn_list, base);
  // 8 pages and an L3, L2 and L1.
  assert.deepEqual([info.first_p2m_pfn, info.nr_p2m_frames, info.nr_pt_frames], [0x400n, 11n, 5n]);
  for (const page of [0, 7])
    assert.equal(walk(image, base + BigInt(page * 4096)) >> 12n, BigInt(machineFrame(0x400 + page)));
  assert.equal(walk(image, base + 8n * 4096n), 0n);
  assert.equal(image.startInfo, 0x103);
});

test('hypercall page: the frame of its address', () => {
  assert.equal(build(64, { notes: [note(2, 0x101000n)] }).hypercallPage, 0x101);
  assert.equal(build(64).hypercallPage, undefined);
  assert.equal(
    code(() => build(64, { notes: [note(2, 1n << 40n)] })),
    'pv-address',
  );
});

test('PADDR_OFFSET: physical addresses of the file are virtual ones', () => {
  const image = build(32, {
    notes: [note(3, 0xc000_0000n), note(4, 0xc000_0000n)],
    paddr: 0xc010_0000,
  });
  assert.equal(image.writes[0]!.gpa, 0x100000);
  assert.equal(image.entry.ip, 0xc010_0000n);
});

test('BSD_SYMTAB: symbols with an ELF header of three sections behind the kernel, gaps zero', () => {
  const names = Uint8Array.from('\0main\0', (c) => c.charCodeAt(0));
  for (const bits of [32, 64] as const) {
    const image = build(bits, {
      notes: [note(11, 'yes')],
      memorySize: 0x2ffd,
      sections: [
        { type: 0, data: new Uint8Array(0) },
        { type: 2, link: 2, data: new Uint8Array(bits === 32 ? 32 : 48).fill(0x55) },
        { type: 3, data: names },
      ],
    });
    const table = image.writes.at(-1)!;
    assert.equal(table.gpa, 0x103000);
    const elf = table.bytes.subarray(4);
    const view = viewOf(elf);
    assert.deepEqual([...elf.subarray(0, 5)], [0x7f, 0x45, 0x4c, 0x46, bits === 32 ? 1 : 2]);
    const [ehsize, shoff, shnum, size, offset, link] =
      bits === 32
        ? [view.getUint16(40, true), view.getUint32(32, true), view.getUint16(48, true), 40, 16, 24]
        : [view.getUint16(52, true), Number(view.getBigUint64(40, true)), view.getUint16(60, true), 64, 24, 40];
    assert.deepEqual([shoff, shnum], [64, 3]);
    assert.ok(elf.subarray(ehsize, shoff).every((byte) => byte === 0));
    assert.equal(view.getUint32(shoff + size + link, true), 2);
    const symbols = view.getUint32(shoff + size + offset, true);
    const strings = view.getUint32(shoff + 2 * size + offset, true);
    assert.equal(elf[symbols], 0x55);
    assert.deepEqual(elf.subarray(strings, strings + names.length), names);
    assert.equal(viewOf(table.bytes).getUint32(0, true), strings + names.length);
    assert.equal(image.p2m, 0x104);
  }
});

test('kernels from before notes: what the section __xen_guest says', () => {
  const text =
    'GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,ELF_PADDR_OFFSET=0x0,VIRT_ENTRY=0xC0100000,HYPERCALL_PAGE=0x101,FEATURES=writable_page_tables|pae_pgdir_above_4gb,PAE=yes[extended-cr3],LOADER=generic';
  const bytes = (value: string): Uint8Array => Uint8Array.from(`${value}\0`, (c) => c.charCodeAt(0));
  const sections = [
    { type: 0, data: new Uint8Array(0) },
    { type: 1, name: 1, data: bytes(text) },
    { type: 3, data: bytes('\0__xen_guest') },
  ];
  const image = build(32, { bare: true, sections });
  assert.deepEqual([image.entry.ip, image.hypercallPage, image.entry.extendedCr3], [0xc010_0000n, 0x101, true]);
});

test('hasPvEntry: only images that say they are PV kernels', () => {
  assert.ok(hasPvEntry(kernelOf(64)));
  assert.ok(!hasPvEntry(openKernel(makePvhKernel(), () => undefined)));
});

test('bad input: each mistake has a code and a message that says what to change', () => {
  const cases: readonly (readonly [string, RegExp, () => unknown])[] = [
    ['vcpus', /a PV guest has 1 to 8192/, () => build(64, {}, { maxVcpus: 8193 })],
    ['memory', /whole number/, () => build(64, {}, { memoryMib: 0 })],
    [
      'no-pv-entry',
      /PHYS32_ENTRY; it can be started as PVH/,
      () => build(64, { bare: true, notes: [makeNote('Xen', 18, u32(0x100000))] }),
    ],
    ['no-pv-entry', /no Xen notes/, () => build(64, { bare: true })],
    ['pv-loader', /LOADER = "generic"/, () => build(64, { bare: true, notes: [note(8, 'grub'), note(5, 'xen-3.0')] })],
    ['pv-version', /xen-3\.0/, () => build(64, { bare: true, notes: [note(8, 'generic'), note(5, 'xen-2.0')] })],
    ['pv-feature', /lightning/, () => build(64, { notes: [note(10, '!lightning')] })],
    ['pv-feature', /control domain/, () => build(64, { notes: [note(10, '!dom0')] })],
    ['pv-feature', /translated/, () => build(64, { notes: [note(10, '!auto_translated_physmap')] })],
    ['pv-width', /PAE_MODE/, () => build(32, { bare: true, notes: [note(8, 'generic'), note(5, 'xen-3.0')] })],
    ['pv-address', /page boundary/, () => build(64, { paddr: 0x100010 })],
    ['pv-address', /PADDR_OFFSET/, () => build(64, { notes: [note(4, 0x200000n)] })],
    ['pv-address', /entry point/, () => build(64, { notes: [note(1, 0x90000n)] })],
    ['pv-address', /hypervisor/, () => build(32, { notes: [note(3, 0xf570_0000n)], entry: 0xf580_0000n })],
    [
      'pv-address',
      /hypervisor/,
      () => build(64, { notes: [note(3, 0xffff_8000_0000_0000n), note(1, 0xffff_8000_0010_0000n)] }),
    ],
    ['cmdline', /1023/, () => build(64, {}, { cmdline: 'x'.repeat(1024) })],
    ['modules', /one/, () => build(64, {}, { modules: [{ bytes: u32(1) }, { bytes: u32(2) }] })],
    ['memory-too-small', /initial mapping/, () => build(64, {}, { memoryMib: 3 })],
    ['memory-too-small', /ramdisk/, () => build(64, {}, { modules: [{ bytes: new Uint8Array(17 << 20) }] })],
  ];
  for (const [expected, text, run] of cases) {
    assert.equal(code(run), expected, String(text));
    assert.throws(run, text);
  }
});

test('notes: one that its container cuts off counts as far as it goes, as in GRUB images', () => {
  const pae = note(9, 'yes');
  viewOf(pae).setUint32(4, 12, true);
  assert.equal(
    code(() => build(32, { bare: true, notes: [note(8, 'generic'), note(5, 'xen-3.0'), pae] })),
    'ok',
  );
});

test('features that are only wished for, and required ones that Xen has, are fine', () => {
  assert.equal(
    code(() => build(64, { notes: [note(10, '!writable_page_tables|pae_pgdir_above_4gb|lightning')] })),
    'ok',
  );
});
