import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromLatin1, latin1, viewOf } from '../bytes.ts';
import { Console } from './console.ts';

function setUp(): {
  page: Uint8Array;
  view: DataView;
  console: Console;
  text: () => string;
  write: (text: string) => void;
} {
  const page = new Uint8Array(4096);
  const view = viewOf(page);
  let out = '';
  const console = new Console({
    page: () => page,
    output: (bytes) => {
      out += latin1(bytes);
    },
  });
  const write = (text: string): void => {
    const at = view.getUint32(3084, true);
    for (let i = 0; i < text.length; i++) page[1024 + ((at + i) & 2047)] = text.charCodeAt(i);
    view.setUint32(3084, at + text.length, true);
  };
  return { page, view, console, text: () => out, write };
}

test('console: output is drained in order and across the end of the ring', () => {
  const { console, text, write } = setUp();
  let expected = '';
  for (let i = 0; i < 9; i++) {
    const line = `${i}`.repeat(500);
    expected += line;
    write(line);
    assert.equal(console.service(), true);
  }
  assert.equal(text(), expected);
  assert.equal(console.service(), false);
});

test('console: indexes further apart than the ring are left alone', () => {
  const { console, text, view } = setUp();
  view.setUint32(3084, 2049, true);
  assert.equal(console.service(), false);
  assert.equal(text(), '');
  assert.equal(view.getUint32(3080, true), 0);
});

test('console: indexes may wrap at 2^32', () => {
  const { console, text, view, write } = setUp();
  view.setUint32(3080, 0xfffffffe, true);
  view.setUint32(3084, 0xfffffffe, true);
  write('abcd');
  console.service();
  assert.equal(text(), 'abcd');
  assert.equal(view.getUint32(3080, true), 2);
});

test('console: input waits while the ring is full', () => {
  const { console, page, view } = setUp();
  console.input(fromLatin1('x'.repeat(1030)));
  console.input(fromLatin1('end'));
  assert.equal(console.service(), true);
  assert.equal(view.getUint32(3076, true), 1024);
  assert.equal(console.service(), false);
  view.setUint32(3072, 1024, true);
  assert.equal(console.service(), true);
  assert.equal(latin1(page.subarray(0, 9)), 'xxxxxxend');
});

test('console: without a page nothing moves', () => {
  assert.equal(new Console({ page: () => undefined, output: () => assert.fail() }).service(), false);
});
