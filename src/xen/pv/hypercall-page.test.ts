import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writePvHypercallPage } from './hypercall-page.ts';

const stub = (width: 32 | 64, number: number): string => {
  const page = new Uint8Array(4096);
  writePvHypercallPage(page, width);
  return Buffer.from(page.subarray(number * 32, number * 32 + 16)).toString('hex');
};

test('hypercall page, 64-bit: rcx and r11 survive a call; iret leaves them on the stack for its frame', () => {
  assert.equal(stub(64, 17), '514153b8110000000f05415b59c3cccc');
  assert.equal(stub(64, 23), '51415350b8170000000f05cccccccccc');
});

test('hypercall page, 32-bit: int 0x82; iret leaves eax on the stack for its frame', () => {
  assert.equal(stub(32, 17), 'b811000000cd82c3cccccccccccccccc');
  assert.equal(stub(32, 23), '50b817000000cd82cccccccccccccccc');
});
