/** Guests that once reached what they must not, or kept the host busy without an instruction; random code found them or might. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATE as S } from '../../src/cpu/index.ts';
import { Audit, type Control } from '../../src/xen/index.ts';
import { Guard, MIB, runToEnd, smallMachine } from './support/machine.ts';

const CODE = 0x8000,
  PML4 = 0x9000,
  PDPT = 0xa000,
  IDT = 0xb000;

function machine(bits: 32 | 64, code: readonly number[], engine: 'interpret' | 'translate' = 'interpret'): Control {
  const control = smallMachine(MIB, { engine });
  const page = (...words: number[]): Uint8Array => new Uint8Array(Uint32Array.from(words).buffer);
  control.write(PML4, page(PDPT | 3));
  control.write(PDPT, page(0x83, 0));
  control.write(CODE, Uint8Array.from(code));
  const cpu = control.machine.cpus[0]!;
  const vcpu = control.machine.domain.vcpus[0]!;
  cpu.reset();
  cpu.set64(S.CR0, bits === 64 ? 0x8000_0011n : 0x11n);
  cpu.set64(S.CR3, BigInt(PML4));
  if (bits === 64) {
    cpu.set64(S.CR4, 0x20n);
    cpu.set64(S.EFER, 0x500n);
  }
  for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS]) cpu.setSegment(n, 0x10, 0n, 0xffff_ffff, 0xc093);
  cpu.setSegment(S.CS, 8, 0n, 0xffff_ffff, bits === 64 ? 0xa09b : 0xc09b);
  cpu.set64(S.IDTR, BigInt(IDT));
  cpu.set32(S.IDTR + 8, 0);
  cpu.set64(S.gpr(S.RSP), 0x7000n);
  cpu.rip = BigInt(CODE);
  cpu.eflags = 2;
  cpu.updateMode(0);
  vcpu.isInitialised = true;
  vcpu.clearPauseFlags(~0);
  return control;
}

for (const engine of ['interpret', 'translate'] as const) {
  for (const [what, code] of [
    ['read', [0x8b, 0x03]],
    ['write', [0x89, 0x03]],
    ['read and write', [0xff, 0x03]],
  ] as const) {
    test(`a ${what} at the end of the lower half of non-canonical addresses faults (${engine})`, () => {
      for (const address of [0x7fff_ffff_ffff_f000n, 0x7fff_ffff_ffff_fff0n, 0x7fff_ffff_fff0_0010n]) {
        const control = machine(64, code, engine);
        const guard = new Guard(control);
        control.machine.cpus[0]!.set64(S.gpr(S.RBX), address);
        assert.equal(runToEnd(control, 100), 'shutdown 1 by the hypervisor');
        guard.check();
      }
    });
  }
}

test('a breakpoint on the handler of the debug exception uses the limit up', () => {
  const control = machine(32, [0x90, 0xeb, 0xfd]);
  const cpu = control.machine.cpus[0]!;
  // An interrupt gate for vector 1 in code segment 8 that leads to 0xc000; segment 8 is in the table.
  control.write(IDT + 8, Uint8Array.of(0x00, 0xc0, 8, 0, 0, 0x8e, 0, 0));
  control.write(IDT + 0x808, Uint8Array.of(0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0));
  control.write(0xc000, Uint8Array.of(0xcf));
  cpu.set32(S.IDTR + 8, 0x7ff);
  cpu.set64(S.GDTR, BigInt(IDT + 0x800));
  cpu.set32(S.GDTR + 8, 0xf);
  cpu.set64(S.DR0, 0xc000n);
  cpu.set64(S.DR7, 0x401n);
  // One trap to start with.
  cpu.eflags = 2 | S.TF;
  assert.equal(runToEnd(control, 5_000), 'limit');
  assert.equal(control.machine.scheduler.instructions, 5_000);
});

test('ever new unknown hypercalls are counted under a bounded number of names', () => {
  const audit = new Audit();
  for (let n = 0; n < 3 * Audit.NAMES; n++) audit.count(`hypercall ${n}`);
  assert.equal(audit.counts.size, Audit.NAMES + 1);
  assert.equal(audit.counts.get('others'), 2 * Audit.NAMES);
});
