/**
 * The tree of nodes. Nodes are never changed in place: a modification makes a new root that shares what stayed the
 * same, so that a transaction is simply an older root.
 */
import { segments } from './path.ts';

export type Access = 'n' | 'r' | 'w' | 'b';

export interface Permission {
  readonly domid: number;
  readonly access: Access;
}

export interface Node {
  /** Octets as characters. */
  readonly value: string;
  /** The first entry is the owner and what everybody not listed may do. */
  readonly permissions: readonly Permission[];
  readonly children: ReadonlyMap<string, Node>;
  /** Changes with the node's value, permissions or list of children, not with what is below a child. */
  readonly generation: number;
}

let generations = 0;
/** A value no node had before. */
export const nextGeneration = (): number => ++generations;

export const makeNode = (permissions: readonly Permission[], value = ''): Node => ({
  value,
  permissions,
  children: new Map(),
  generation: nextGeneration(),
});

export function find(root: Node, path: string): Node | undefined {
  let node: Node | undefined = root;
  for (const name of segments(path)) node = node?.children.get(name);
  return node;
}

/** The root with `change` applied to the node at `path`, whose parent exists; undefined removes it. */
export function replace(root: Node, path: string, node: Node | undefined): Node {
  return rebuild(root, segments(path), 0, node);
}

function rebuild(at: Node, names: readonly string[], depth: number, node: Node | undefined): Node {
  const name = names[depth];
  if (name === undefined) return node ?? at;
  const old = at.children.get(name);
  const last = depth === names.length - 1;
  if (!last && old === undefined) throw new RangeError(`no node ${names.slice(0, depth + 1).join('/')}`);
  const child = last ? node : rebuild(old!, names, depth + 1, node);
  const children = new Map(at.children);
  if (child === undefined) children.delete(name);
  else children.set(name, child);
  const listChanged = (child === undefined) !== (old === undefined);
  return { ...at, children, generation: listChanged ? nextGeneration() : at.generation };
}

/** Number of nodes owned by a domain at and below `node`. */
export function countOwned(node: Node, domid: number): number {
  let count = node.permissions[0]?.domid === domid ? 1 : 0;
  for (const child of node.children.values()) count += countOwned(child, domid);
  return count;
}

export function allows(node: Node, domid: number, wanted: 'r' | 'w'): boolean {
  const owner = node.permissions[0];
  if (domid === 0 || owner?.domid === domid) return true;
  const access = node.permissions.slice(1).find((entry) => entry.domid === domid)?.access ?? owner?.access ?? 'n';
  return access === 'b' || access === wanted;
}
