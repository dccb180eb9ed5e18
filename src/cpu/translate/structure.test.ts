import assert from 'node:assert/strict';
import { test } from 'node:test';
import { structure } from './structure.ts';

/** Node 0 is the dispatcher. */
const shapeOf = (...edges: number[][]) => structure({ edges });

test('structure: a loop is entered at its head, and its last block goes back', () => {
  const shape = shapeOf([1], [2], [2, 3], []);
  assert.deepEqual(shape.isLoop, [false, false, true, false]);
  assert.deepEqual(shape.entries, [1, 2]);
});

test('structure: ways that meet are told from ways that go on', () => {
  const shape = shapeOf([1], [2, 3], [4], [4], []);
  assert.deepEqual(shape.isMerge, [false, false, false, false, true]);
  assert.deepEqual(shape.merges[1], [4]);
  assert.ok(!shape.isLoop.includes(true));
});

test('structure: an edge into the middle of a loop goes through the dispatcher, which becomes a loop', () => {
  // 1 goes to both blocks of the cycle 2 <-> 3.
  const shape = shapeOf([1], [2, 3], [3], [2]);
  const through = [shape.dispatched(2, 3), shape.dispatched(3, 2)];
  assert.deepEqual(through.filter(Boolean).length, 1);
  assert.ok(shape.isLoop[0]);
});

test('structure: an inner loop is entered through the head of the loop around it, which stays a loop', () => {
  // 1 head of the outer loop, 2 before the inner one, 3 the inner one.
  const shape = shapeOf([1], [2], [3], [3, 4], [1, 5], []);
  assert.deepEqual(shape.isLoop, [false, true, false, true, false, false]);
  assert.deepEqual(shape.entries, [1]);
  assert.deepEqual(shape.inner[1], [3]);
  assert.ok(!shape.dispatched(4, 1) && !shape.dispatched(1, 3));
});

test('structure: whatever the graph, each edge leads on, to the head of a loop around it, or through the dispatcher', () => {
  let state = 12345;
  const below = (n: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % n;
  };
  for (let round = 0; round < 300; round++) {
    const count = 2 + below(14);
    const edges = Array.from({ length: count }, (_, i) =>
      Array.from({ length: i === 0 ? 1 + below(3) : below(3) }, () => (i === 0 ? 1 + below(count - 1) : below(count))),
    ).map((to) => [...new Set(to)]);
    // All nodes can be reached.
    for (let node = 1; node < count; node++) edges[below(node)]!.push(node);
    const unique = edges.map((to) => [...new Set(to)]);
    const shape = structure({ edges: unique });
    assert.deepEqual(
      [...shape.order].sort((a, b) => a - b),
      Array.from({ length: count }, (_, i) => i),
    );
    unique.forEach((to, from) => {
      for (const target of to) {
        if (shape.dispatched(from, target))
          assert.ok(shape.entries.includes(target) || shape.isLoop[target], `round ${round}`);
        else if (shape.order[target]! <= shape.order[from]!) assert.ok(shape.isLoop[target], `round ${round}`);
      }
    });
  }
});
