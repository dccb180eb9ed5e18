import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES, CodeSpace } from './space.ts';

const BEGIN = 0x10000;

/** A space whose records are in use when they are among `used`; what it made room with. */
function make(blocks: number) {
  const used = new Set<number>();
  const evicted: string[] = [];
  const space = new CodeSpace(BEGIN, blocks * BLOCK_BYTES, {
    evict: (kind, address) => void evicted.push(`${kind} ${(address - BEGIN) / BLOCK_BYTES}`),
    inUse: (address) => used.has((address - BEGIN) / BLOCK_BYTES),
  });
  /** Takes a block for records; its number. */
  const records = (): number => {
    space.reserve(BLOCK_BYTES);
    return (space.record(BLOCK_BYTES) - BEGIN) / BLOCK_BYTES;
  };
  return { space, used, evicted, records };
}

test('code space: records without use make room before fresh memory is touched', () => {
  const { space, evicted, records } = make(256);
  for (let i = 0; i < 1000; i++) records();
  assert.equal(space.touched, 64 * BLOCK_BYTES);
  assert.equal(evicted.length, 1000 - 64);
});

test('code space: what is in use, and every table, stays until all memory is taken', () => {
  const { space, used, evicted, records } = make(256);
  for (let i = 0; i < 128; i++) {
    used.add(records());
    space.table();
  }
  assert.deepEqual(evicted, []);
  assert.equal(space.used, 256);
  // From now on blocks are taken in turn; tables that were used are spared once.
  assert.equal(records(), 0);
  assert.deepEqual(evicted, ['records 0']);
});

test('code space: small memory is used in turn from the beginning', () => {
  const { space, evicted, records } = make(4);
  const table = space.table().address;
  for (let i = 0; i < 3; i++) records();
  space.touch(table);
  assert.equal(records(), 1);
  assert.deepEqual(evicted, ['records 1']);
  assert.equal(space.touched, 4 * BLOCK_BYTES);
});

test('code space: a table is clear where nothing ever was', () => {
  const { space, records } = make(4);
  records();
  assert.deepEqual(space.table(), { address: BEGIN + BLOCK_BYTES, cleared: true });
  space.reset();
  const after = [space.table(), space.table(), space.table()].map(({ cleared }) => cleared);
  assert.deepEqual(after, [false, false, true]);
});
