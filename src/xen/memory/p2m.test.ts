import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENOENT } from '../../abi/xen/errno.ts';
import { gfn } from '../../base/int.ts';
import { GuestMemory } from '../../machine/index.ts';
import { P2m } from './p2m.ts';

const make = (maxPages = 8): P2m => new P2m(new GuestMemory({ cpuBytes: 0, codeBytes: 0, frames: 32 }), maxPages);

test('P2m.populate: stops at the page limit of the domain', () => {
  const p2m = make(2);
  assert.ok(p2m.populate(0) && p2m.populate(1));
  assert.equal(p2m.populate(2), false);
  assert.equal(p2m.totalPages, 2);
});

test('P2m.remove: frees RAM and reports a hole', () => {
  const p2m = make();
  p2m.populate(5);
  assert.equal(p2m.remove(5), 0);
  assert.equal(p2m.totalPages, 0);
  assert.equal(p2m.remove(5), -ENOENT);
});

test('P2m.placeSpecial: moves the frame and frees RAM at the target', () => {
  const p2m = make();
  p2m.populate(1);
  const frame = p2m.allocateSpecial();
  p2m.placeSpecial(frame, gfn(1));
  assert.equal(p2m.totalPages, 0);
  p2m.placeSpecial(frame, gfn(2));
  assert.equal(p2m.frameAt(1), 0);
  assert.equal(p2m.frameAt(2), frame);
  assert.equal(p2m.ramAt(2), 0);
});

test('P2m.remove: a held frame outlives its removal', () => {
  const p2m = make();
  p2m.populate(1);
  const frame = p2m.frameAt(1);
  p2m.hold(frame);
  p2m.remove(1);
  assert.equal(p2m.totalPages, 1);
  p2m.unhold(frame);
  assert.equal(p2m.totalPages, 0);
});
