/** What a guest may write into the pages it shares with XenStore and its console. */
import assert from 'node:assert/strict';
import { gfn } from '../../../src/base/int.ts';
import { buildPvh, launch, openKernel } from '../../../src/toolstack/index.ts';
import type { Random } from '../../conformance/support/random.ts';
import { makePvhKernel } from '../../support/make-elf.ts';
import { smallMachine } from './machine.ts';
import { interesting } from './random-code.ts';

const WORDS = [
  'data',
  'a',
  'b',
  'control/shutdown',
  '/',
  '',
  '//',
  '/local/domain/1',
  '/local',
  '/tool/x',
  'a/b/c/d',
  '@releaseDomain',
  'é',
  '/local/domain/0/x',
];
const TOKENS = ['t', '', 'n1', 'r0', 'b65535', 'T', 'F', '0', '4095', '99999999999999999999', 'x'.repeat(300)];

/** A request that is more often well-formed than not. */
function request(random: Random): Uint8Array {
  const deep = 'x/'.repeat(random.below(1000));
  const word = (): string => (random.once(30) ? `${deep}y` : random.pick(WORDS));
  const payload = Array.from({ length: random.below(4) }, () => (random.once(2) ? word() : random.pick(TOKENS))).join(
    '\0',
  );
  const body = Buffer.from(random.once(4) ? payload : `${payload}\0`, 'latin1');
  const bytes = new Uint8Array(16 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, random.once(10) ? random.u32() : random.below(24), true);
  view.setUint32(4, random.u32(), true);
  view.setUint32(8, random.once(2) ? 0 : random.below(12), true);
  view.setUint32(12, random.once(40) ? Number(interesting(random) & 0xffff_ffffn) : body.length, true);
  bytes.set(body, 16);
  return bytes;
}

/** Runs one case. Throws when a service did. */
export function fuzzCase(random: Random): string {
  const control = smallMachine(0x1000, { type: 'pvh', maxMemory: 5 << 20 });
  const image = buildPvh({
    kernel: openKernel(makePvhKernel(), () => undefined),
    memoryMib: 4,
    vcpus: 1,
    maxVcpus: 1,
    modules: [],
  });
  let printed = 0;
  const services = launch(control, image, {
    domid: 1,
    name: 'g',
    uuid: '00000000-0000-4000-8000-000000000001',
    memoryMib: 4,
    maxMemoryMib: 4,
    output: (bytes) => {
      printed += bytes.length;
    },
  });
  const store = control.page(gfn(image.storeGfn))!;
  const console = control.page(gfn(image.consoleGfn))!;
  const view = new DataView(store.buffer, store.byteOffset, store.byteLength);
  let waiting = new Uint8Array(0);
  for (let n = 0; n < 300; n++) {
    if (random.once(50))
      view.setUint32(
        random.pick([2048, 2052, 2056, 2060, 2064, 2068, 2072]),
        random.once(2) ? random.below(4) : random.u32(),
        true,
      );
    if (random.once(50)) for (let i = 0; i < 16; i++) store[random.below(4096)] = random.u8();
    if (random.once(20)) {
      for (let i = 0; i < 8; i++) console[random.below(4096)] = random.u8();
      if (random.once(2)) services.input(new Uint8Array(random.below(3000)));
    }
    // Put what fits, as a guest would, and read the replies more often than not.
    if (waiting.length === 0) waiting = new Uint8Array(request(random));
    const consumer = view.getUint32(2048, true);
    const producer = view.getUint32(2052, true);
    const room = Math.min(Math.max(0, 1024 - ((producer - consumer) >>> 0)), waiting.length);
    for (let i = 0; i < room; i++) store[(producer + i) & 1023] = waiting[i]!;
    view.setUint32(2052, (producer + room) >>> 0, true);
    waiting = waiting.slice(room);
    if (!random.once(4)) view.setUint32(2056, view.getUint32(2060, true), true);
    if (random.once(100)) view.setUint32(2068, 1, true);
    services.service();
  }
  assert.ok(printed < 1_000_000);
  return 'served';
}
