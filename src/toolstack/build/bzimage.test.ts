import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { makePvhKernel } from '../../../tests/support/make-elf.ts';
import { BadInput } from '../bad-input.ts';
import type { Decompress } from './bzimage.ts';
import { openKernel } from './kernel.ts';

const decompress: Decompress = (format, data) => (format === 'gzip' ? new Uint8Array(gunzipSync(data)) : undefined);

function makeBzImage(payload: Uint8Array, version = 0x20f): Uint8Array {
  const bytes = new Uint8Array(0x400 + 0x100 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0x1f1] = 1;
  bytes.set([0x55, 0xaa], 0x1fe);
  bytes.set([0x48, 0x64, 0x72, 0x53], 0x202);
  view.setUint16(0x206, version, true);
  view.setUint32(0x248, 0x100, true);
  view.setUint32(0x24c, payload.length, true);
  bytes.set(payload, 0x500);
  return bytes;
}
const message = (file: Uint8Array): string => {
  try {
    openKernel(file, decompress);
  } catch (error) {
    assert.ok(error instanceof BadInput, String(error));
    return `${error.code}: ${error.message}`;
  }
  return 'ok';
};

test('bzImage: the kernel inside is found, compressed with gzip or not at all', () => {
  const kernel = makePvhKernel(undefined, 64);
  assert.equal(openKernel(makeBzImage(new Uint8Array(gzipSync(kernel))), decompress).pvhEntry, 0x100000);
  assert.equal(openKernel(makeBzImage(kernel), decompress).pvhEntry, 0x100000);
  assert.equal(openKernel(new Uint8Array(gzipSync(kernel)), decompress).pvhEntry, 0x100000);
});

test('bzImage: every way to fail has its own line', () => {
  const packed = new Uint8Array(gzipSync(makePvhKernel()));
  assert.match(message(makeBzImage(packed, 0x207)), /^bzimage-too-old: bzImage of boot protocol 2\.7/);
  assert.match(message(makeBzImage(packed).subarray(0, 0x510)), /^bzimage-truncated: /);
  assert.match(
    message(makeBzImage(Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 0, 0, 0))),
    /^bzimage-damaged: kernel payload is not valid xz data: /,
  );
  assert.match(message(makeBzImage(Uint8Array.of(0x89, 0x4c, 0x5a, 0x4f, 0, 0, 0, 0))), / lzo, /);
  assert.match(message(makeBzImage(Uint8Array.of(9, 9, 9, 9, 9, 9))), /unknown format/);
  assert.match(message(makeBzImage(packed.subarray(0, 40))), /^bzimage-damaged: /);
  assert.match(message(Uint8Array.of()), /^empty: /);
  assert.match(message(Uint8Array.from('#!/bin/sh\n', (c) => c.charCodeAt(0))), /^not-elf: /);
});
