import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromLatin1, latin1, viewOf } from '../bytes.ts';
import { fillDomainNodes } from './domain-nodes.ts';
import { RingServer } from './ring-server.ts';
import { Store } from './store.ts';
import { decodeMessage, encodeMessage, HEADER_SIZE, type Message } from './wire.ts';

const T = {
  control: 0,
  directory: 1,
  read: 2,
  getPerms: 3,
  watch: 4,
  unwatch: 5,
  start: 6,
  end: 7,
  introduce: 8,
  path: 10,
  write: 11,
  mkdir: 12,
  rm: 13,
  setPerms: 14,
  event: 15,
  introduced: 17,
  reset: 21,
  part: 22,
};

/** A guest that talks over its ring, moving a few bytes at a time. */
class Guest {
  readonly page = new Uint8Array(4096);
  readonly server: RingServer;
  readonly events: string[] = [];
  private received: Uint8Array = new Uint8Array(0);
  private readonly chunk: number;

  constructor(store: Store, domid = 1, chunk = 1024) {
    this.server = new RingServer(store, domid, () => this.page);
    this.chunk = chunk;
  }
  index(at: number): number {
    return viewOf(this.page).getUint32(at, true);
  }
  set(at: number, value: number): void {
    viewOf(this.page).setUint32(at, value, true);
  }
  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(this.chunk, bytes.length - at, 1024 - (this.index(2052) - this.index(2048)));
      for (let i = 0; i < count; i++) this.page[(this.index(2052) + i) & 1023] = bytes[at + i]!;
      this.set(2052, this.index(2052) + count);
      at += count;
      this.server.service();
      this.drain();
    }
  }
  drain(): void {
    while (this.index(2060) !== this.index(2056)) {
      const more: number[] = [];
      while (this.index(2060) !== this.index(2056) && more.length < this.chunk) {
        more.push(this.page[1024 + (this.index(2056) & 1023)]!);
        this.set(2056, this.index(2056) + 1);
      }
      this.received = Uint8Array.of(...this.received, ...more);
      this.server.service();
    }
  }
  next(): Message | undefined {
    const message = decodeMessage(this.received);
    assert.notEqual(message, 'too-long');
    if (message === undefined || message === 'too-long') return undefined;
    this.received = this.received.slice(HEADER_SIZE + message.payload.length);
    return message;
  }
  /** Payload of the reply, without a last zero byte; zero bytes inside shown as |. */
  ask(type: number, payload: string, transaction = 0): string {
    this.send(encodeMessage({ type, requestId: 7, transaction, payload: payload.replaceAll('|', '\0') }));
    this.server.service();
    this.drain();
    let answer: string | undefined;
    for (let message = this.next(); message; message = this.next()) {
      const text = message.payload.replace(/\0$/, '').replaceAll('\0', '|');
      if (message.type === T.event) this.events.push(text);
      else {
        assert.equal(message.requestId, 7);
        assert.equal(message.transaction, transaction);
        answer = text;
      }
    }
    assert.ok(answer !== undefined, 'no reply');
    return answer;
  }
  takeEvents(): string[] {
    return this.events.splice(0);
  }
}

function domainStore(): Store {
  const store = new Store();
  fillDomainNodes(store, {
    domid: 1,
    name: 'guest',
    uuid: '00000000-0000-4000-8000-000000000001',
    type: 'pvh',
    memoryMib: 128,
    maxMemoryMib: 128,
    vcpus: 1,
    maxVcpus: 2,
    storeGfn: 0xfeffc,
    storePort: 1,
    consoleGfn: 0xfefff,
    consolePort: 2,
  });
  return store;
}
const guest = (chunk?: number): Guest => new Guest(domainStore(), 1, chunk);

for (const chunk of [1, 7, 1024]) {
  test(`XenStore: a guest reads its nodes by relative and absolute path, ${chunk} bytes at a time`, () => {
    const g = guest(chunk);
    assert.equal(g.ask(T.read, 'domid|'), '1');
    assert.equal(g.ask(T.read, '/local/domain/1/name|'), 'guest');
    assert.equal(g.ask(T.read, 'memory/target|'), '131072');
    assert.equal(g.ask(T.directory, 'cpu|'), '0|1');
    assert.equal(g.ask(T.read, 'cpu/1/availability|'), 'offline');
    assert.equal(g.ask(T.path, '1|'), '/local/domain/1');
    assert.equal(g.ask(T.introduced, '1|'), 'T');
    assert.equal(g.ask(T.introduced, '9|'), 'F');
  });
}

test('XenStore: errors are names', () => {
  const g = guest();
  assert.equal(g.ask(T.read, 'nothing|'), 'ENOENT');
  assert.equal(g.ask(T.read, '/local/domain/9/name|'), 'ENOENT');
  assert.equal(g.ask(T.write, '/local/domain/9/name|x'), 'EACCES');
  assert.equal(g.ask(T.write, 'domid|5'), 'EACCES');
  assert.equal(g.ask(T.write, 'new|5'), 'EACCES');
  assert.equal(g.ask(T.read, 'a//b|'), 'EINVAL');
  assert.equal(g.ask(T.read, 'a b|'), 'EINVAL');
  assert.equal(g.ask(T.read, 'data/|'), 'EINVAL');
  assert.equal(g.ask(T.read, '|'), 'EINVAL');
  assert.equal(g.ask(T.introduce, '2|1|1|'), 'EACCES');
  assert.equal(g.ask(T.control, 'help|'), 'EACCES');
  assert.equal(g.ask(99, ''), 'ENOSYS');
  assert.equal(g.ask(T.read, 'domid|', 5), 'ENOENT');
});

test('XenStore: a guest writes, lists, removes and shares below what it owns', () => {
  const g = guest();
  assert.equal(g.ask(T.write, 'data/a/b|x|y'), 'OK');
  assert.equal(g.ask(T.read, 'data/a/b|'), 'x|y');
  assert.equal(g.ask(T.read, 'data/a|'), '');
  assert.equal(g.ask(T.getPerms, 'data/a|'), 'n1');
  assert.equal(g.ask(T.setPerms, 'data/a|n1|r0|'), 'OK');
  assert.equal(g.ask(T.getPerms, 'data/a|'), 'n1|r0');
  assert.equal(g.ask(T.setPerms, 'data/a|n2|'), 'EPERM');
  assert.equal(g.ask(T.setPerms, 'data/a|x1|'), 'EINVAL');
  assert.equal(g.ask(T.mkdir, 'data/a|'), 'OK');
  assert.equal(g.ask(T.directory, 'data/a|'), 'b');
  assert.equal(g.ask(T.rm, 'data/a|'), 'OK');
  assert.equal(g.ask(T.rm, 'data/a|'), 'OK');
  assert.equal(g.ask(T.rm, 'data/q/r|'), 'ENOENT');
  assert.equal(g.ask(T.directory, 'data|'), '');
  assert.equal(g.ask(T.write, `data/big|${'x'.repeat(2040)}`), 'ENOSPC');
});

test('XenStore: a watch fires at once and on changes at and below it, in the form it was set', () => {
  const g = guest();
  assert.equal(g.ask(T.watch, 'data|tok|'), 'OK');
  assert.deepEqual(g.takeEvents(), ['data|tok']);
  assert.equal(g.ask(T.watch, 'data|tok|'), 'EEXIST');
  g.ask(T.write, '/local/domain/1/data/x|1');
  assert.deepEqual(g.takeEvents(), ['data/x|tok']);
  g.ask(T.watch, 'data/x/y|t2|');
  g.takeEvents();
  g.ask(T.write, 'data/x/y|1');
  assert.deepEqual(g.takeEvents(), ['data/x/y|tok', 'data/x/y|t2']);
  g.ask(T.rm, 'data/x|');
  assert.deepEqual(g.takeEvents(), ['data/x|tok', 'data/x/y|t2']);
  assert.equal(g.ask(T.unwatch, 'data|tok|'), 'OK');
  assert.equal(g.ask(T.unwatch, 'data|tok|'), 'ENOENT');
  g.ask(T.reset, '|');
  g.ask(T.write, 'data/x/y|1');
  assert.deepEqual(g.takeEvents(), []);
});

test('XenStore: a transaction shows its own changes, and others only after its end', () => {
  const g = guest();
  g.ask(T.watch, 'data|w|');
  g.takeEvents();
  const t = Number(g.ask(T.start, '|'));
  assert.equal(g.ask(T.write, 'data/a|1', t), 'OK');
  assert.equal(g.ask(T.read, 'data/a|', t), '1');
  assert.equal(g.ask(T.read, 'data/a|'), 'ENOENT');
  assert.deepEqual(g.takeEvents(), []);
  assert.equal(g.ask(T.end, 'T|', t), 'OK');
  assert.equal(g.ask(T.read, 'data/a|'), '1');
  assert.deepEqual(g.takeEvents(), ['data/a|w']);
  assert.equal(g.ask(T.end, 'T|', t), 'ENOENT');
});

test('XenStore: a transaction fails with EAGAIN only when what it looked at has changed', () => {
  const g = guest();
  g.ask(T.write, 'data/a|1');
  const first = Number(g.ask(T.start, '|'));
  g.ask(T.read, 'data/a|', first);
  g.ask(T.write, 'data/b|2', first);
  g.ask(T.write, 'data/a|5');
  assert.equal(g.ask(T.end, 'T|', first), 'EAGAIN');
  assert.equal(g.ask(T.read, 'data/b|'), 'ENOENT');
  const second = Number(g.ask(T.start, '|'));
  g.ask(T.rm, 'data/a|', second);
  g.ask(T.write, 'data/a|6', second);
  g.ask(T.write, 'attr/z|0');
  assert.equal(g.ask(T.end, 'T|', second), 'OK');
  assert.equal(g.ask(T.read, 'data/a|'), '6');
  const third = Number(g.ask(T.start, '|'));
  g.ask(T.write, 'data/c|1', third);
  assert.equal(g.ask(T.end, 'F|', third), 'OK');
  assert.equal(g.ask(T.read, 'data/c|'), 'ENOENT');
  assert.equal(g.ask(T.end, 'X|', third), 'EINVAL');
});

test('XenStore: watches, transactions and nodes are limited per domain', () => {
  const g = guest();
  for (let i = 0; i < 128; i++) assert.equal(g.ask(T.watch, `data|${i}|`), 'OK');
  assert.equal(g.ask(T.watch, 'data|more|'), 'E2BIG');
  for (let i = 0; i < 10; i++) assert.match(g.ask(T.start, '|'), /^[0-9]+$/);
  assert.equal(g.ask(T.start, '|'), 'ENOSPC');
});

test('XenStore: a list longer than a message is E2BIG and can be read in parts', () => {
  const g = guest();
  const names = Array.from({ length: 300 }, (_, i) => `node-with-a-long-name-${i}`);
  for (const name of names) g.ask(T.mkdir, `data/${name}|`);
  assert.equal(g.ask(T.directory, 'data|'), 'E2BIG');
  let all = '';
  for (let parts = 0; parts < 5; parts++) {
    g.send(encodeMessage({ type: T.part, requestId: 1, transaction: 0, payload: `data\0${all.length}\0` }));
    const payload = g.next()!.payload;
    const part = payload.slice(payload.indexOf('\0') + 1);
    all += part;
    if (all.endsWith('\0\0')) break;
  }
  assert.deepEqual(
    all.split('\0').filter((name) => name !== ''),
    names,
  );
});

test('XenStore ring: broken indexes and an overlong message stop service until the guest reconnects', () => {
  const g = guest();
  assert.equal(g.ask(T.read, 'domid|'), '1');
  assert.equal(g.index(2064), 3);
  g.ask(T.watch, 'data|w|');
  g.set(2052, g.index(2048) + 1025);
  assert.equal(g.server.service(), true);
  assert.equal(g.index(2072), 2);
  assert.equal(g.server.service(), false);
  g.set(2068, 1);
  assert.equal(g.server.service(), true);
  assert.deepEqual(
    [2048, 2052, 2056, 2060, 2068, 2072].map((at) => g.index(at)),
    [0, 0, 0, 0, 0, 0],
  );
  g.takeEvents();
  assert.equal(g.ask(T.write, 'data/a|1'), 'OK');
  assert.deepEqual(g.takeEvents(), []);
  const header = encodeMessage({ type: T.read, requestId: 1, transaction: 0, payload: '' });
  viewOf(header).setUint32(12, 5000, true);
  g.send(header);
  assert.equal(g.index(2072), 3);
});

test('XenStore ring: a page that is gone is left alone', () => {
  assert.equal(new RingServer(new Store(), 1, () => undefined).service(), false);
});

test('XenStore wire: octets survive', () => {
  const payload = latin1(Uint8Array.from({ length: 256 }, (_, i) => i));
  const message = decodeMessage(encodeMessage({ type: 1, requestId: 2, transaction: 3, payload }));
  assert.deepEqual(message, { type: 1, requestId: 2, transaction: 3, payload });
  assert.deepEqual(fromLatin1(payload)[255], 255);
});
