import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeNote, makePvhKernel, makePvKernel, u64 } from '../../tests/support/make-elf.ts';
import { type Port, port } from '../base/int.ts';
import { openKernel } from './build/kernel.ts';
import { buildPv } from './build/pv.ts';
import { buildPvh } from './build/pvh.ts';
import { fromLatin1, latin1, viewOf } from './bytes.ts';
import { type DomainControl, launch } from './launch.ts';
import type { PvControl } from './launch-pv.ts';
import { decodeMessage, encodeMessage } from './xenstore/wire.ts';

/** A control that keeps pages in a map and remembers what it was asked. */
function fakeControl() {
  const pages = new Map<number, Uint8Array>();
  const log: string[] = [];
  const params = new Map<number, bigint>();
  const senders: (() => void)[] = [];
  const grants = new Map<number, number>();
  const page = (frame: number): Uint8Array | undefined => pages.get(frame);
  const mfnOf = (pfn: number): number => 0x4000 + (pfn ^ 3);
  const pv: PvControl = {
    sharedInfo: 0x99,
    populate: (count) => {
      for (let pfn = 0; pfn < count; pfn++) pages.set(mfnOf(pfn), new Uint8Array(4096));
    },
    machineFrame: mfnOf,
    bytes: (mfn) => pages.get(mfn)!,
    writeHypercallPage: (mfn) => void log.push(`hypercalls ${mfn.toString(16)}`),
    pinRoot: (mfn) => void log.push(`pin ${mfn.toString(16)}`),
    resetSharedInfo: () => void log.push('shared info'),
    setContext: (context) => void log.push(`context ${context.length}`),
  };
  const control: DomainControl = {
    populate: ({ start, size }) => {
      for (let frame = start / 4096; frame < (start + size) / 4096; frame++) pages.set(frame, new Uint8Array(4096));
    },
    write: (gpa, bytes) => {
      for (const [i, byte] of bytes.entries()) pages.get(Math.floor((gpa + i) / 4096))![(gpa + i) % 4096] = byte;
    },
    setMemoryMap: (map) => void log.push(`map of ${map.length}`),
    setEntry: (entry) => void log.push(`entry ${entry.eip.toString(16)}`),
    grant: (reference, frame) => void grants.set(reference, frame),
    setHvmParam: (index, value) => void params.set(index, value),
    allocateChannel: (onSend) => port(senders.push(onSend)),
    notify: (to: Port) => void log.push(`notify ${to}`),
    page,
    get pv(): PvControl {
      return pv;
    },
  };
  return { control, log, params, senders, grants, page };
}

test('launch: every write lands in populated memory and the rings are served on notification', () => {
  const { control, log, params, senders, grants, page } = fakeControl();
  const image = buildPvh({
    kernel: openKernel(makePvhKernel(), () => undefined),
    memoryMib: 4,
    vcpus: 1,
    maxVcpus: 1,
    modules: [],
  });
  let output = '';
  const services = launch(control, image, {
    domid: 1,
    name: 'g',
    uuid: '00000000-0000-4000-8000-000000000001',
    memoryMib: 4,
    maxMemoryMib: 4,
    output: (bytes) => {
      output += latin1(bytes);
    },
  });
  assert.deepEqual(log.splice(0), ['map of 5', 'entry 100000']);
  assert.deepEqual([params.get(2), params.get(18), params.get(17)], [1n, 2n, 0xfefffn]);
  assert.deepEqual(
    [...grants],
    [
      [0, 0xfefff],
      [1, 0xfeffc],
    ],
  );
  assert.equal(page(0x100)![0], 0xf4);

  const console = page(0xfefff)!;
  console.set(fromLatin1('hi'), 1024);
  viewOf(console).setUint32(3084, 2, true);
  senders[1]!();
  assert.equal(output, 'hi');
  assert.deepEqual(log.splice(0), ['notify 2']);
  services.input(fromLatin1('x'));
  assert.deepEqual([console[0], viewOf(console).getUint32(3076, true)], [0x78, 1]);

  const ring = page(0xfeffc)!;
  const request = encodeMessage({ type: 2, requestId: 3, transaction: 0, payload: 'console/port\0' });
  ring.set(request);
  viewOf(ring).setUint32(2052, request.length, true);
  log.length = 0;
  services.service();
  assert.deepEqual(log, ['notify 1']);
  assert.deepEqual(decodeMessage(ring.subarray(1024, 2048)), { type: 2, requestId: 3, transaction: 0, payload: '2' });

  const watch = encodeMessage({ type: 4, requestId: 4, transaction: 0, payload: 'cpu\0token\0' });
  ring.fill(0, 1024, 2048);
  viewOf(ring).setUint32(2056, viewOf(ring).getUint32(2060, true), true);
  for (const [i, byte] of watch.entries()) ring[(request.length + i) % 1024] = byte;
  viewOf(ring).setUint32(2052, request.length + watch.length, true);
  services.service();
  ring.fill(0, 1024, 2048);
  viewOf(ring).setUint32(2056, viewOf(ring).getUint32(2060, true), true);
  log.length = 0;
  services.writeNode('cpu/0/availability', 'offline');
  assert.deepEqual(log, ['notify 1']);
  assert.match(latin1(ring.subarray(1024, 2048)), /cpu\/0\/availability\0token\0/);

  services.reconnect();
  assert.deepEqual([params.get(2), params.get(18)], [3n, 4n], 'ports after a soft reset');
  assert.equal(
    services.store.apply((view) => view.read('/local/domain/1/console/port', 0)),
    '4',
  );
});

test('launch: a PV domain gets its frames, pages that name them, a pinned root and registers; then its rings work', () => {
  const { control, log, senders, page } = fakeControl();
  const image = buildPv({
    kernel: openKernel(
      makePvKernel(64, { code: new Uint8Array(5000).fill(0x90), notes: [makeNote('Xen', 2, u64(0x102000n))] }),
      () => undefined,
    ),
    memoryMib: 8,
    vcpus: 1,
    maxVcpus: 1,
    modules: [],
  });
  let output = '';
  launch(control, image, {
    domid: 1,
    name: 'g',
    uuid: '00000000-0000-4000-8000-000000000001',
    memoryMib: 8,
    maxMemoryMib: 16,
    output: (bytes) => {
      output += latin1(bytes);
    },
  });
  const machineFrame = (pfn: number): number => 0x4000 + (pfn ^ 3);
  const root = machineFrame(image.tables[0]!.pfn).toString(16);
  assert.deepEqual(log.splice(0), ['map of 1', 'hypercalls 4101', `pin ${root}`, 'shared info', 'context 5168']);
  assert.deepEqual([page(machineFrame(0x100))![4095], page(machineFrame(0x101))![903]], [0x90, 0x90]);
  const info = viewOf(page(machineFrame(image.startInfo))!);
  const console = Number(info.getBigUint64(72, true));
  assert.equal(console, machineFrame(image.console));
  assert.deepEqual([info.getUint32(64, true), info.getUint32(80, true)], [1, 2]);
  const ring = page(console)!;
  ring.set(fromLatin1('hi'), 1024);
  viewOf(ring).setUint32(3084, 2, true);
  senders[1]!();
  assert.equal(output, 'hi');
});
