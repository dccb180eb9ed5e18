/** The database: reads, changes and their permission checks, transactions, and who is told of changes. */
import { parentOf, segments } from './path.ts';
import { allows, countOwned, find, makeNode, type Node, nextGeneration, type Permission, replace } from './tree.ts';
import { XsError } from './wire.ts';

/** What one domain may use; the numbers are those Xen's daemon starts with. */
const MAX_NODE_SIZE = 2048;
const MAX_NODES = 1000;
const MAX_PERMISSIONS = 5;
/** Nodes a transaction may look at, and changes it may make. */
const MAX_TRANSACTION_NODES = 1024;
const MAX_TRANSACTION_CHANGES = 16_384;

/** A change to tell watchers of. `removed` also concerns watches below the path. */
export interface Change {
  readonly path: string;
  readonly removed?: Node;
}

/** A state of the tree that requests are applied to: the database itself, or a transaction's view of it. */
export class View {
  root: Node;
  readonly changes: Change[] = [];
  /** Generation every node looked at had at the start, 0 where there was none: what a transaction depends on. */
  readonly seen = new Map<string, number>();
  private readonly redo: ((view: View) => void)[] = [];
  private readonly base: Node;
  /** It is a transaction's and lasts as long as that. */
  private readonly lasting: boolean;

  constructor(root: Node, lasting: boolean) {
    this.root = root;
    this.base = root;
    this.lasting = lasting;
  }

  private look(path: string): Node | undefined {
    const fresh = !this.seen.has(path);
    if (fresh && this.lasting && this.seen.size >= MAX_TRANSACTION_NODES) throw new XsError('ENOSPC');
    if (fresh) this.seen.set(path, find(this.base, path)?.generation ?? 0);
    return find(this.root, path);
  }

  /** The node, if the domain may use it so. A missing node is ENOENT only to those who may use its nearest ancestor so. */
  private get(path: string, domid: number, wanted: 'r' | 'w'): Node {
    const node = this.look(path);
    if (node === undefined) {
      if (!allows(this.nearest(path), domid, wanted)) throw new XsError('EACCES');
      throw new XsError('ENOENT');
    }
    if (!allows(node, domid, wanted)) throw new XsError('EACCES');
    return node;
  }

  private nearest(path: string): Node {
    let at = path;
    for (;;) {
      const node = this.look(at);
      if (node !== undefined) return node;
      at = parentOf(at);
    }
  }

  mayRead(path: string, domid: number): boolean {
    return allows(this.nearest(path), domid, 'r');
  }

  read(path: string, domid: number): string {
    return this.get(path, domid, 'r').value;
  }

  list(path: string, domid: number): { readonly names: string[]; readonly generation: number } {
    const node = this.get(path, domid, 'r');
    return { names: [...node.children.keys()], generation: node.generation };
  }

  permissions(path: string, domid: number): readonly Permission[] {
    return this.get(path, domid, 'r').permissions;
  }

  /** Errors in order: ENOSPC (value too large), EACCES, ENOSPC (too many nodes). */
  write(path: string, value: string, domid: number): void {
    this.mayChange();
    if (domid !== 0 && value.length + path.length > MAX_NODE_SIZE) throw new XsError('ENOSPC');
    const node = this.create(path, domid);
    this.root = replace(this.root, path, { ...node, value, generation: nextGeneration() });
    this.done({ path }, (view) => view.write(path, value, domid));
  }

  mkdir(path: string, domid: number): void {
    this.mayChange();
    if (this.look(path) !== undefined) {
      this.get(path, domid, 'w');
      return;
    }
    this.create(path, domid);
    this.done({ path }, (view) => view.mkdir(path, domid));
  }

  /** The node at `path`, made with its missing ancestors when it is not there. */
  private create(path: string, domid: number): Node {
    const present = this.look(path);
    if (present !== undefined) return this.get(path, domid, 'w');
    const ancestor = this.nearest(path);
    if (!allows(ancestor, domid, 'w')) throw new XsError('EACCES');
    if (domid !== 0 && countOwned(this.root, domid) >= MAX_NODES) throw new XsError('ENOSPC');
    // A node takes its parent's permissions, and a domain owns what it makes.
    const [owner, ...others] = ancestor.permissions;
    const permissions = domid === 0 ? ancestor.permissions : [{ domid, access: owner?.access ?? 'n' }, ...others];
    let at = '';
    let node = this.root;
    for (const name of segments(path)) {
      at += `/${name}`;
      const child = find(this.root, at);
      node = child ?? makeNode(permissions);
      if (child === undefined) this.root = replace(this.root, at, node);
    }
    return node;
  }

  /** Errors in order: EINVAL (the root), ENOENT (no parent), EACCES. Nothing to remove is no error. */
  remove(path: string, domid: number): void {
    this.mayChange();
    if (path === '/') throw new XsError('EINVAL');
    if (this.look(path) === undefined) {
      this.get(parentOf(path), domid, 'w');
      return;
    }
    const node = this.get(path, domid, 'w');
    this.look(parentOf(path));
    this.root = replace(this.root, path, undefined);
    this.done({ path, removed: node }, (view) => view.remove(path, domid));
  }

  /** Errors in order: EINVAL (no entry), ENOSPC (too many), ENOENT/EACCES, EPERM (giving a node away). */
  setPermissions(path: string, permissions: readonly Permission[], domid: number): void {
    this.mayChange();
    const first = permissions[0];
    if (first === undefined) throw new XsError('EINVAL');
    if (domid !== 0 && permissions.length > MAX_PERMISSIONS) throw new XsError('ENOSPC');
    const node = this.get(path, domid, 'w');
    const owner = node.permissions[0]?.domid;
    if (domid !== 0 && owner !== domid) throw new XsError('EACCES');
    if (domid !== 0 && first.domid !== domid) throw new XsError('EPERM');
    this.root = replace(this.root, path, { ...node, permissions, generation: nextGeneration() });
    this.done({ path }, (view) => view.setPermissions(path, permissions, domid));
  }

  /** ENOSPC: too many changes in a transaction. */
  private mayChange(): void {
    if (this.lasting && this.redo.length >= MAX_TRANSACTION_CHANGES) throw new XsError('ENOSPC');
  }

  private done(change: Change, redo: (view: View) => void): void {
    this.changes.push(change);
    this.redo.push(redo);
  }

  /** Drops what only a transaction needs. */
  forget(): void {
    this.seen.clear();
    this.redo.length = 0;
  }

  /** Applies what was done here to another view. False, and nothing done, when something looked at has changed there. */
  commitTo(target: View): boolean {
    for (const [path, generation] of this.seen) {
      if ((find(target.root, path)?.generation ?? 0) !== generation) return false;
    }
    for (const redo of this.redo) redo(target);
    return true;
  }
}

export class Store {
  readonly main: View;
  private readonly listeners: ((change: Change) => void)[] = [];

  constructor() {
    this.main = new View(makeNode([{ domid: 0, access: 'r' }]), false);
  }

  onChange(listener: (change: Change) => void): void {
    this.listeners.push(listener);
  }

  /** Runs `action` on the database and tells listeners what changed. */
  apply<T>(action: (view: View) => T): T {
    try {
      return action(this.main);
    } finally {
      this.flush();
    }
  }

  begin(): View {
    return new View(this.main.root, true);
  }

  commit(view: View): boolean {
    return this.apply((main) => view.commitTo(main));
  }

  private flush(): void {
    for (const change of this.main.changes.splice(0)) for (const listener of this.listeners) listener(change);
    this.main.forget();
  }
}
