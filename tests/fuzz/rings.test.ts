/** Random requests and ring indexes on the shared pages of XenStore and the console: the services neither fail nor grow without end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RingServer } from '../../src/toolstack/xenstore/ring-server.ts';
import { Store } from '../../src/toolstack/xenstore/store.ts';
import { encodeMessage, XS_GET_DOMAIN_PATH } from '../../src/toolstack/xenstore/wire.ts';
import { fuzz } from './support/run.ts';

test('random contents of the shared rings are served or refused', async (context) => {
  await fuzz(context, new URL('./support/ring-case.ts', import.meta.url), 100, 3);
});

test('a guest that reads no replies is not served for ever', () => {
  const page = new Uint8Array(4096);
  const view = new DataView(page.buffer);
  const server = new RingServer(new Store(), 1, () => page);
  const request = encodeMessage({ type: XS_GET_DOMAIN_PATH, requestId: 1, transaction: 0, payload: '1\0' });
  let taken = 0;
  for (let n = 0; n < 10_000; n++) {
    const producer = view.getUint32(2052, true);
    if (producer - view.getUint32(2048, true) + request.length > 1024) break;
    request.forEach((byte, i) => {
      page[(producer + i) & 1023] = byte;
    });
    view.setUint32(2052, producer + request.length, true);
    server.service();
    taken++;
  }
  assert.ok(taken > 20 && taken < 300, `${taken} requests were taken`);
  // The service goes on where replies are read.
  view.setUint32(2056, view.getUint32(2060, true), true);
  assert.equal(server.service(), true);
});
