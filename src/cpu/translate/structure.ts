/**
 * The control flow of a region as a graph, and what is needed to write it with WebAssembly's blocks and loops: dominators, loop heads,
 * and places where ways meet (after Ramsey, "Beyond Relooper").
 *
 * Node 0 is the dispatcher, which goes to any of the region's entries; it comes first and again when a jump's target is only known at run
 * time. An edge into the middle of a loop has no structured form: it goes through the dispatcher, whose target becomes an entry.
 */

export interface Graph {
  /** Successors by node; every node can be reached from 0. */
  readonly edges: readonly (readonly number[])[];
}

export interface Structure {
  /** Position in reverse postorder. */
  readonly order: readonly number[];
  /** Nodes that are immediately dominated and where several ways meet, the latest in order first. */
  readonly merges: readonly (readonly number[])[];
  readonly isMerge: readonly boolean[];
  readonly isLoop: readonly boolean[];
  /** Does the edge go through the dispatcher? */
  readonly dispatched: (from: number, to: number) => boolean;
  /** Nodes that the dispatcher goes to, ascending. */
  readonly entries: readonly number[];
  /**
   * Heads of loops that lie immediately inside a loop, by that one's head. Each loop can be entered at its head: the dispatcher goes to the
   * outermost loop, whose head goes on to the inner one, so that loops stay loops.
   */
  readonly inner: readonly (readonly number[])[];
  /** By node: head of the innermost loop around it; 0 is none but the dispatcher's. */
  readonly around: readonly number[];
  /** By node: head of the outermost one. */
  readonly outermost: readonly number[];
}

const reversePostorder = (edges: readonly (readonly number[])[]): number[] => {
  const seen = edges.map(() => false);
  const post: number[] = [];
  // Iterative: regions are long chains.
  const stack: { node: number; next: number }[] = [{ node: 0, next: 0 }];
  seen[0] = true;
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    const successors = edges[top.node];
    if (top.next < successors.length) {
      const to = successors[top.next++];
      if (!seen[to]) {
        seen[to] = true;
        stack.push({ node: to, next: 0 });
      }
    } else {
      post.push(top.node);
      stack.pop();
    }
  }
  return post.reverse();
};

/** Immediate dominators (after Cooper, Harvey and Kennedy); -1 for nodes that are not reached. */
const dominators = (
  edges: readonly (readonly number[])[],
  sequence: readonly number[],
  order: readonly number[],
): number[] => {
  const before: number[][] = edges.map(() => []);
  for (const from of sequence) for (const to of edges[from]) before[to].push(from);
  const above = edges.map(() => -1);
  above[0] = 0;
  const common = (a: number, b: number): number => {
    let x = a,
      y = b;
    while (x !== y) {
      while (order[x] > order[y]) x = above[x];
      while (order[y] > order[x]) y = above[y];
    }
    return x;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of sequence) {
      if (node === 0) continue;
      let found = -1;
      for (const from of before[node]) if (above[from] >= 0) found = found < 0 ? from : common(found, from);
      if (above[node] !== found) {
        above[node] = found;
        changed = true;
      }
    }
  }
  return above;
};

export const structure = (graph: Graph): Structure => {
  const edges = graph.edges.map((e) => [...e]);
  const dispatched = new Set<number>();
  const key = (from: number, to: number): number => from * edges.length + to;
  for (;;) {
    const sequence = reversePostorder(edges);
    const order = edges.map(() => -1);
    sequence.forEach((node, i) => {
      order[node] = i;
    });
    const above = dominators(edges, sequence, order);
    const dominates = (a: number, b: number): boolean => {
      let x = b;
      while (order[x] > order[a]) x = above[x];
      return x === a;
    };
    const irreducible: [number, number][] = [];
    for (const from of sequence)
      for (const to of edges[from]) if (order[to] <= order[from] && !dominates(to, from)) irreducible.push([from, to]);
    if (irreducible.length === 0) {
      const loops = enterLoops(edges, sequence, order);
      return describe(edges, loops, (a, b) => dispatched.has(key(a, b)));
    }
    for (const [from, to] of irreducible) {
      dispatched.add(key(from, to));
      edges[from] = [...edges[from].filter((t) => t !== to), 0];
      if (!edges[0].includes(to)) edges[0].push(to);
    }
  }
};

interface Loops {
  readonly inner: number[][];
  readonly around: number[];
  readonly outermost: number[];
}

/** Adds edges to the heads of all loops: from the head of the loop around it, or from the dispatcher. Returns them by origin. */
const enterLoops = (edges: number[][], sequence: readonly number[], order: readonly number[]): Loops => {
  const before: number[][] = edges.map(() => []);
  for (const from of sequence) for (const to of edges[from]) before[to].push(from);
  // Loops in the order of their heads, outer ones first: the last to claim a node is the innermost around it.
  const around = edges.map(() => 0);
  const outermost = edges.map(() => 0);
  const inner: number[][] = edges.map(() => []);
  for (const head of sequence) {
    if (head === 0) continue;
    const work = before[head].filter((from) => order[from] >= order[head]);
    if (work.length === 0) continue;
    inner[around[head]].push(head);
    const body = new Set([head]);
    for (let node = work.pop(); node !== undefined; node = work.pop()) {
      if (body.has(node)) continue;
      body.add(node);
      work.push(...before[node]);
    }
    for (const node of body) {
      around[node] = head;
      outermost[node] ||= head;
    }
  }
  inner.forEach((heads, from) => {
    for (const head of heads) if (!edges[from].includes(head)) edges[from].push(head);
  });
  inner[0].length = 0;
  return { inner, around, outermost };
};

const describe = (
  edges: readonly (readonly number[])[],
  { inner, around, outermost }: Loops,
  dispatched: Structure['dispatched'],
): Structure => {
  const sequence = reversePostorder(edges);
  const order = edges.map(() => -1);
  sequence.forEach((node, i) => {
    order[node] = i;
  });
  const above = dominators(edges, sequence, order);
  const ways = edges.map(() => 0);
  const isLoop = edges.map(() => false);
  for (const from of sequence)
    for (const to of edges[from])
      if (order[to] <= order[from]) isLoop[to] = true;
      else ways[to]++;
  // Whoever wants to go into a loop comes to the head of the loop around it, too.
  const isMerge = ways.map((n, node) => n > 1 || (node !== 0 && inner[node].length > 0));
  const merges: number[][] = edges.map(() => []);
  for (const node of [...sequence].reverse()) if (isMerge[node]) merges[above[node]].push(node);
  return {
    order,
    merges,
    isMerge,
    isLoop,
    dispatched,
    entries: [...edges[0]].sort((a, b) => a - b),
    inner,
    around,
    outermost,
  };
};
