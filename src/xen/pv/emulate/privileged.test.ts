import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../../../cpu/state.ts';
import { ABSENT, CODE, PvBench, USER_CODE } from '../testing.ts';

const DB = 1,
  UD = 6,
  GP = 13,
  PF = 14;

/** Executes one instruction of the kernel: 'done' behind it, or the exception that was entered. */
function execute(
  bytes: readonly number[],
  { width = 64 as 32 | 64, user = false, prepare = (_bench: PvBench): void => {} } = {},
): { readonly outcome: string; readonly bench: PvBench } {
  const bench = new PvBench(width).code(...bytes).start();
  bench.write(USER_CODE, bytes);
  const handlers = new Map([DB, UD, GP, PF].map((vector) => [bench.handle(vector), vector]));
  if (user) bench.enterUser();
  prepare(bench);
  bench.run(1);
  const vector = handlers.get(bench.cpu.rip);
  const behind = BigInt((user ? USER_CODE : CODE) + bytes.length);
  return { outcome: vector !== undefined ? `#${vector}` : bench.cpu.rip === behind ? 'done' : 'elsewhere', bench };
}

const outcome = (bytes: readonly number[], options?: Parameters<typeof execute>[1]): string =>
  execute(bytes, options).outcome;

const CLI = [0xfa],
  IN_AL_DX = [0xec],
  OUT_DX_AL = [0xee];

for (const width of [64, 32] as const) {
  test(`virtual IOPL, ${width}-bit: the kernel counts as ring 1, with the assist as ring 0, the user as ring 3`, () => {
    const matrix = [false, true].map((assist) =>
      [0, 1, 2, 3].map((iopl) =>
        [false, true].map((user) =>
          [CLI, IN_AL_DX, OUT_DX_AL].map((bytes) =>
            outcome(bytes, {
              width,
              user,
              prepare: (bench) => {
                bench.vcpu.iopl = iopl << 12;
                if (assist) bench.pv.domain.vmAssist |= 1n << 4n;
              },
            }),
          ),
        ),
      ),
    );
    const yes = ['done', 'done', 'done'],
      no = ['#13', '#13', '#13'];
    assert.deepEqual(matrix, [
      [
        [no, no],
        [yes, no],
        [yes, no],
        [yes, yes],
      ],
      [
        [yes, no],
        [yes, no],
        [yes, no],
        [yes, yes],
      ],
    ]);
  });

  test(`CR0, CR2, CR3, CR4, ${width}-bit: the kernel reads what the hypervisor keeps for it, the user gets #GP`, () => {
    const read = (n: number): bigint => {
      const { outcome: how, bench } = execute([0x0f, 0x20, 0xc0 | (n << 3)], { width });
      assert.equal(how, 'done');
      return bench.reg(S.RAX);
    };
    assert.equal(read(0), 0x8005_0033n);
    assert.equal(read(4) & 0x6_0008n, 0n);
    const { bench } = execute([0x0f, 0x20, 0xd8], { width });
    const mfn = bench.vcpu.kernelRoot;
    const cr3 = width === 64 ? BigInt(mfn) << 12n : BigInt.asUintN(32, BigInt(mfn) << 12n) | BigInt(mfn >>> 20);
    assert.equal(bench.reg(S.RAX), cr3);
    assert.equal(outcome([0x0f, 0x20, 0xc0], { width, user: true }), '#13');
  });
}

test('CLTS and MOV to CR0 change TS and nothing else', () => {
  const set = execute([0x0f, 0x22, 0xc0], { prepare: (b) => b.set(S.RAX, 0x8005_003bn) });
  assert.equal(set.outcome, 'done');
  assert.equal(set.bench.vcpu.taskSwitched, true);
  assert.equal(outcome([0x0f, 0x22, 0xc0], { prepare: (b) => b.set(S.RAX, 0x8004_003bn) }), '#13');
  const clear = execute([0x0f, 0x06], { prepare: (b) => b.pv.setTaskSwitched(b.vcpu, true) });
  assert.equal(clear.bench.vcpu.taskSwitched, false);
});

test("MOV to CR4: TSD, DE, FSGSBASE and OSXSAVE are the guest's, others are dropped", () => {
  const { outcome: how, bench } = execute([0x0f, 0x22, 0xe0], { prepare: (b) => b.set(S.RAX, 0xffff_ffffn) });
  assert.equal(how, 'done');
  assert.equal(bench.vcpu.cr4, 0x5_066cn);
});

test('CR4.FSGSBASE of a 64-bit guest makes its instructions exist', () => {
  const rdfsbase = [0xf3, 0x0f, 0xae, 0xc0];
  assert.equal(outcome(rdfsbase), '#6');
  assert.equal(outcome(rdfsbase, { prepare: (b) => b.pv.setCr4(b.vcpu, 1n << 16n) }), 'done');
});

test('what is not emulated keeps its #GP: HLT, LGDT, INVLPG, MOV to CR8', () => {
  for (const bytes of [[0xf4], [0x0f, 0x01, 0x10], [0x0f, 0x01, 0x38], [0x44, 0x0f, 0x22, 0xc0]])
    assert.equal(outcome(bytes), '#13');
});

test('RDMSR: registers a PV kernel may read, and #GP for others', () => {
  const read = (index: number): string | bigint => {
    const { outcome: how, bench } = execute([0x0f, 0x32], { prepare: (b) => b.set(S.RCX, index) });
    return how === 'done' ? (bench.reg(S.RDX) << 32n) | bench.reg(S.RAX) : how;
  };
  assert.equal(read(0x1b), 0xfee0_0900n, 'APIC_BASE of the first vCPU');
  assert.equal(read(0xc000_0080), 0xd01n, 'EFER');
  assert.equal(read(0x277), 0x501_0007_0406n, 'PAT');
  assert.equal(read(0xce), 1n << 31n, 'PLATFORM_INFO offers CPUID faulting');
  assert.equal(read(0x1a0), 0x80_1801n, 'MISC_ENABLE');
  assert.equal(read(0x174), '#13', 'SYSENTER_CS');
  assert.equal(read(0xc000_0082), '#13', 'LSTAR');
  assert.equal(outcome([0x0f, 0x32], { user: true }), '#13');
});

test('RDMSR of a register the processor has reads 0 while the guest has no #GP handler', () => {
  const bench = new PvBench(64).code(0x0f, 0x32).start();
  bench.set(S.RCX, 0x174);
  bench.set(S.RAX, 5);
  bench.run(1);
  assert.equal(bench.crash, undefined);
  assert.equal(bench.reg(S.RAX), 0n);
});

test('WRMSR: bases must be canonical, EFER may be written as it is, CPUID faulting has one bit', () => {
  const write = (index: number, value: bigint): string =>
    outcome([0x0f, 0x30], {
      prepare: (b) => {
        b.set(S.RCX, index);
        b.set(S.RAX, value & 0xffff_ffffn);
        b.set(S.RDX, value >> 32n);
      },
    });
  for (const base of [0xc000_0100, 0xc000_0101, 0xc000_0102]) {
    assert.equal(write(base, 0x1234n), 'done');
    assert.equal(write(base, 0x8000_0000_0000n), '#13');
  }
  assert.equal(write(0xc000_0080, 0xd01n), 'done');
  assert.equal(write(0xc000_0080, 0x501n), '#13');
  assert.equal(write(0x140, 1n), 'done');
  assert.equal(write(0x140, 2n), '#13');
});

test('CPUID faulting: the user gets #GP, by the instruction and by the prefix, the kernel never', () => {
  const faulting = (b: PvBench): void => {
    b.vcpu.cpuidFaulting = true;
  };
  const prefixed = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
  assert.equal(outcome([0x0f, 0xa2], { user: true, prepare: faulting }), '#13');
  assert.equal(outcome([0x0f, 0xa2], { prepare: faulting }), 'done');
  assert.equal(outcome(prefixed, { prepare: faulting }), 'done');
  const user = execute(prefixed, { user: true, prepare: faulting });
  assert.equal(user.outcome, '#13');
  assert.equal(user.bench.words(user.bench.rsp + 24n, 1)[0], BigInt(USER_CODE + 5));
  assert.equal(outcome([0x0f, 0x0b, 0x78, 0x65, 0x6f, 0x0f, 0xa2]), '#6');
});

test('CPUID: the prefix shows OSXSAVE to a kernel that did not set it; features only HVM guests can use are absent', () => {
  const leaf1 = (bytes: readonly number[]): PvBench => execute(bytes, { prepare: (b) => b.set(S.RAX, 1) }).bench;
  assert.equal((leaf1([0x0f, 0xa2]).reg(S.RCX) >> 27n) & 1n, 0n);
  const prefixed = leaf1([0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2]);
  assert.equal((prefixed.reg(S.RCX) >> 27n) & 1n, 1n);
  // VME, PSE, MTRR, PGE, PSE36.
  assert.equal(prefixed.reg(S.RDX) & 0x2_300an, 0n);
});

test('port I/O: reads give ones, the bit map permits what the IOPL does not, and an absent bit map is a page fault', () => {
  const { bench } = execute([0xe5, 0x70], {
    prepare: (b) => {
      b.vcpu.iopl = 0x3000;
    },
  });
  assert.equal(bench.reg(S.RAX), 0xffff_ffffn);
  const withMap = (ports: number, bits: number, address = 0x8000n) =>
    outcome(IN_AL_DX, {
      user: true,
      prepare: (b) => {
        b.set(S.RDX, 0x13);
        b.write(0x8002, [bits, 0]);
        b.vcpu.ioBitmap = { address, ports };
      },
    });
  assert.equal(withMap(0x14, 0xf7), 'done');
  assert.equal(withMap(0x14, 0x08), '#13');
  assert.equal(withMap(0x13, 0xf7), '#13');
  assert.equal(withMap(0x14, 0, ABSENT), '#14');
});

test('REP INSB writes its buffer and counts; a buffer that is not there is a page fault at the repetition', () => {
  const bench = new PvBench(64).code(0xf3, 0x6c).start();
  bench.vcpu.iopl = 0x1000;
  bench.handle(PF);
  bench.set(S.RCX, 3);
  bench.set(S.RDI, 0x8000);
  bench.set(S.RDX, 0x80);
  bench.run(3);
  assert.deepEqual(bench.words(0x8000, 1), [0xff_ffffn]);
  assert.deepEqual([bench.reg(S.RCX), bench.cpu.rip], [0n, BigInt(CODE + 2)]);
  const fault = new PvBench(64).code(0xf3, 0x6c).start();
  fault.vcpu.iopl = 0x1000;
  const handler = fault.handle(PF);
  fault.set(S.RCX, 3);
  fault.set(S.RDI, ABSENT + 4096n);
  fault.cpu.eflags |= S.DF;
  fault.run(2);
  assert.equal(fault.cpu.rip, handler);
  assert.deepEqual([fault.words(fault.rsp, 1)[0], fault.vcpu.cr2], [2n, ABSENT + 4095n]);
});

test('I/O breakpoints and single steps are debug traps behind the emulated instruction', () => {
  const io = execute(OUT_DX_AL, {
    prepare: (b) => {
      b.vcpu.iopl = 0x1000;
      b.pv.setCr4(b.vcpu, 8n);
      b.set(S.RDX, 0x80);
      assert.equal(b.call(8, 0, 0x80), 0);
      assert.equal(b.call(8, 7, 0x0002_0001), 0);
    },
  });
  assert.equal(io.outcome, '#1');
  assert.equal(io.bench.words(io.bench.rsp + 16n, 1)[0], BigInt(CODE + 1));
  assert.equal(io.bench.call(9, 6), 0xffff_0ff1n);
  const step = execute(CLI, {
    prepare: (b) => {
      b.vcpu.iopl = 0x1000;
      b.cpu.eflags |= S.TF;
    },
  });
  assert.equal(step.outcome, '#1');
  assert.equal(step.bench.call(9, 6), 0xffff_4ff0n);
});

test("MOV DR: DR4 is DR6 until CR4.DE makes it #UD; addresses in the hypervisor's range are #GP", () => {
  assert.equal(outcome([0x0f, 0x21, 0xe0]), 'done');
  assert.equal(outcome([0x0f, 0x21, 0xe0], { prepare: (b) => b.pv.setCr4(b.vcpu, 8n) }), '#6');
  const write = (value: bigint) => outcome([0x0f, 0x23, 0xc0], { prepare: (b) => b.set(S.RAX, value) });
  assert.equal(write(0x1000n), 'done');
  assert.equal(write(0xffff_8000_0000_0000n), '#13');
});

test("RDTSC: TSD is the guest's choice and binds its user only", () => {
  const tsd = (b: PvBench): void => b.pv.setCr4(b.vcpu, 4n);
  assert.equal(outcome([0x0f, 0x31], { user: true }), 'done');
  assert.equal(outcome([0x0f, 0x31], { user: true, prepare: tsd }), '#13');
  assert.equal(outcome([0x0f, 0x31], { prepare: tsd }), 'done');
});

test('XSETBV: #UD until the guest sets CR4.OSXSAVE, then as the processor does it', () => {
  const write = (value: number, osxsave: boolean) =>
    outcome([0x0f, 0x01, 0xd1], {
      prepare: (b) => {
        if (osxsave) b.pv.setCr4(b.vcpu, 1n << 18n);
        b.set(S.RAX, value);
      },
    });
  assert.equal(write(3, false), '#6');
  assert.equal(write(3, true), 'done');
  assert.equal(write(0, true), '#13');
});
