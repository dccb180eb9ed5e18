import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { AreaAudit, auditReport } from '../audit/audit.ts';
import { auditText } from '../audit/text.ts';
import { Machine, type MachineOptions } from '../machine/machine.ts';
import { traceLine } from '../trace/line.ts';
import { hypercallName, operationName } from '../trace/names.ts';
import { CallRecorder, type Divergence, firstDivergence } from './diff.ts';
import { divergenceText } from './text.ts';

const hello = readFileSync(new URL('../../../guests/images/hello64.elf', import.meta.url));
const initialise = readFileSync(new URL('../../../guests/images/vcpuinit64.elf', import.meta.url));

/** Runs an image twice and compares. */
function compare(image: Uint8Array, left: MachineOptions, right: MachineOptions): Divergence | undefined {
  const [a, b] = [left, right].map((options) => {
    const recorder = new CallRecorder();
    const machine = new Machine(image, { memory: 32, ...options });
    recorder.attach(machine.control.machine);
    assert.equal(machine.run().kind, 'shutdown');
    assert.ok(recorder.total > 0);
    return recorder;
  });
  return firstDivergence(a!, b!);
}

test('diff: the same release twice gives no divergence', () => {
  assert.equal(compare(hello, { xen: '4.19' }, { xen: '4.19' }), undefined);
});

test('diff: a guest that asks for the release diverges there, unless both report the same', () => {
  const found = compare(hello, { xen: '4.18' }, { xen: '4.19' });
  assert.match(found?.left?.text ?? '', /xen_version XENVER_version\(0\) = 262162/);
  assert.match(found?.right?.text ?? '', /= 262163/);
  const set = { 'reported-version': '4.19' };
  assert.equal(compare(hello, { xen: '4.18', set }, { xen: '4.19', set }), undefined);
});

test('diff: initialise of vCPU 32 without vcpu_info is the first difference between 4.18 and 4.19', () => {
  const found = compare(initialise, { xen: '4.18', vcpus: 34 }, { xen: '4.19', vcpus: 34 });
  assert.ok(found !== undefined);
  assert.match(found.left?.text ?? '', /vcpu_op VCPUOP_initialise\(0x20, .*\) = -EINVAL/);
  assert.match(found.right?.text ?? '', /vcpu_op VCPUOP_initialise\(0x20, .*\) = 0/);
  const text = divergenceText(found, ['Xen 4.18', 'Xen 4.19']);
  assert.match(text, new RegExp(`^> +#${found.index} .*-EINVAL`, 'm'));
});

test('diff: slice lengths do not matter to a guest that does not look', () => {
  assert.equal(compare(hello, {}, { schedule: { slice: 777, seed: 5 } }), undefined);
});

test('trace: a line names hypercall, operation and error', () => {
  const lines: string[] = [];
  new Machine(initialise, { xen: '4.18', vcpus: 34, memory: 32, onHypercall: (t) => lines.push(traceLine(t)) }).run();
  assert.ok(
    lines.some((line) => /^\d+ d1v0 native vcpu_op VCPUOP_initialise\(0x20, 0x[0-9a-f]+\) = -EINVAL$/.test(line)),
  );
  assert.ok(lines.some((line) => line.endsWith('sched_op SCHEDOP_shutdown({reason:0}) = 0')));
  assert.equal(hypercallName(99), 'hypercall 99');
  assert.equal(operationName(24, 3), 'VCPUOP_is_up');
  assert.equal(operationName(24, 99), '99');
});

test('audit: accesses are counted by area, site, mode and mapping, unset ones first', () => {
  const audit = new AreaAudit();
  const machine = new Machine(initialise, { xen: '4.19', vcpus: 34, memory: 32 });
  audit.attach(machine.control.machine);
  machine.run();
  const report = auditReport(audit, machine.control.machine);
  const dummy = report.areas.filter(({ mapping }) => mapping === 'unset');
  assert.ok(dummy.some(({ site, firstVcpu }) => site === 'update_vcpu_system_time' && firstVcpu >= 32));
  assert.equal(report.areas[0]?.mapping, 'unset');
  assert.ok(report.areas.some(({ mapping, firstVcpu }) => mapping === 'slot' && firstVcpu === 0));
  assert.match(auditText(report), /went to the dummy/);
});

test('Machine: console, instruction counts per vCPU and limits', () => {
  const pieces: string[] = [];
  const onConsole = (bytes: Uint8Array): number => pieces.push(new TextDecoder().decode(bytes));
  const machine = new Machine(hello, { memory: 32, xen: '4.20', onConsole });
  assert.deepEqual(machine.run({ instructions: 1000 }), { kind: 'paused' });
  assert.equal(machine.instructions, 1000);
  assert.deepEqual(machine.run(), { kind: 'shutdown', shutdown: { reason: 0 } });
  assert.match(machine.console, /Hello from a guest of Xen 4\.20!/);
  assert.equal(pieces.join(''), machine.console);
  assert.deepEqual(machine.vcpuInstructions, [machine.instructions]);
  assert.ok(machine.time > 0n);
  assert.throws(() => new Machine(Uint8Array.of(1, 2, 3)), { name: 'BadInput' });
  assert.throws(() => new Machine(hello, { set: { nonsense: 'on' } }), RangeError);
});
