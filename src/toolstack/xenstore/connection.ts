/** One domain's connection: requests in, replies and watch events out. */
import { canonical, isWithin } from './path.ts';
import type { Change, Store, View } from './store.ts';
import type { Access, Permission } from './tree.ts';
import {
  type Message,
  XENSTORE_PAYLOAD_MAX,
  XS_CONTROL,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_ERROR,
  XS_GET_DOMAIN_PATH,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_IS_DOMAIN_INTRODUCED,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RESET_WATCHES,
  XS_RESUME,
  XS_RM,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
  XsError,
} from './wire.ts';

const MAX_WATCHES = 128;
const MAX_TRANSACTIONS = 10;

interface Watch {
  /** As given, and in absolute form. Events use the form given. */
  readonly given: string;
  readonly path: string;
  readonly token: string;
}

/** Payload split at its zero bytes; the last piece is what follows the last one. */
type Handler = (connection: Connection, pieces: readonly string[], message: Message) => string;

export class Connection {
  readonly store: Store;
  readonly domid: number;
  private readonly send: (message: Message) => void;
  private readonly domainExists: (domid: number) => boolean;
  private watches: Watch[] = [];
  private readonly transactions = new Map<number, View>();
  private lastTransaction = 0;

  constructor(
    store: Store,
    domid: number,
    send: (message: Message) => void,
    domainExists = (other: number): boolean => other === 0 || other === domid,
  ) {
    this.store = store;
    this.domid = domid;
    this.send = send;
    this.domainExists = domainExists;
    store.onChange((change) => this.fire(change));
  }

  /** Answers one request. Events it causes for this connection follow the reply. */
  handle(message: Message): void {
    const held: Message[] = [];
    this.holding = held;
    let payload: string;
    let type = message.type;
    try {
      const handler = HANDLERS.get(message.type);
      if (handler === undefined) throw new XsError('ENOSYS');
      payload = handler(this, message.payload.split('\0'), message);
      if (payload.length > XENSTORE_PAYLOAD_MAX) throw new XsError('E2BIG');
    } catch (error) {
      if (!(error instanceof XsError)) throw error;
      type = XS_ERROR;
      payload = `${error.errno}\0`;
    } finally {
      this.holding = undefined;
    }
    this.send({ type, requestId: message.requestId, transaction: message.transaction, payload });
    for (const event of held) this.send(event);
  }
  private holding: Message[] | undefined;

  /** Forgets watches and transactions, as when a guest starts over. */
  reset(): void {
    this.watches = [];
    this.transactions.clear();
  }

  path(given: string | undefined): string {
    if (given === undefined || given === '') throw new XsError('EINVAL');
    return canonical(given, this.domid);
  }

  /** Runs a request on the database, or on the transaction it names. ENOENT: no such transaction. */
  on<T>(message: Message, action: (view: View) => T): T {
    if (message.transaction === 0) return this.store.apply(action);
    const view = this.transactions.get(message.transaction);
    if (view === undefined) throw new XsError('ENOENT');
    return action(view);
  }

  begin(): number {
    if (this.transactions.size >= MAX_TRANSACTIONS) throw new XsError('ENOSPC');
    do this.lastTransaction = (this.lastTransaction + 1) >>> 0 || 1;
    while (this.transactions.has(this.lastTransaction));
    this.transactions.set(this.lastTransaction, this.store.begin());
    return this.lastTransaction;
  }

  end(id: number, commit: boolean): void {
    const view = this.transactions.get(id);
    if (view === undefined) throw new XsError('ENOENT');
    this.transactions.delete(id);
    if (commit && !this.store.commit(view)) throw new XsError('EAGAIN');
  }

  watch(given: string, token: string): void {
    const path = given.startsWith('@') ? given : this.path(given);
    if (this.watches.some((watch) => watch.path === path && watch.token === token)) throw new XsError('EEXIST');
    if (this.watches.length >= MAX_WATCHES) throw new XsError('E2BIG');
    const watch = { given, path, token };
    this.watches.push(watch);
    // A new watch fires once so that nothing between looking and watching is missed.
    this.event(watch, path);
  }

  unwatch(given: string, token: string): void {
    const path = given.startsWith('@') ? given : this.path(given);
    const found = this.watches.findIndex((watch) => watch.path === path && watch.token === token);
    if (found < 0) throw new XsError('ENOENT');
    this.watches.splice(found, 1);
  }

  exists(domid: number): boolean {
    return this.domainExists(domid);
  }

  private fire(change: Change): void {
    for (const watch of this.watches) {
      if (isWithin(change.path, watch.path)) {
        if (this.store.main.mayRead(change.path, this.domid)) this.event(watch, change.path);
      } else if (change.removed && isWithin(watch.path, change.path) && existed(change, watch.path)) {
        this.event(watch, watch.path);
      }
    }
  }

  /** An event's path has the form the watch was set with: relative to the domain's directory or absolute. */
  private event(watch: Watch, path: string): void {
    const shown = watch.given + path.slice(watch.path.length);
    const message = { type: XS_WATCH_EVENT, requestId: 0, transaction: 0, payload: `${shown}\0${watch.token}\0` };
    if (this.holding) this.holding.push(message);
    else this.send(message);
  }
}

/** Whether a node at `path` went away with the change. */
function existed(change: Change, path: string): boolean {
  let node = change.removed;
  for (const name of path.slice(change.path.length + 1).split('/')) node = node?.children.get(name);
  return node !== undefined;
}

const OK = 'OK\0';
const EACCES: Handler = () => {
  throw new XsError('EACCES');
};
const number = (text: string | undefined): number => {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) throw new XsError('EINVAL');
  return Number(text);
};
const strings = (items: readonly string[]): string => items.map((item) => `${item}\0`).join('');

function permission(text: string): Permission {
  const found = /^([nrwb])([0-9]{1,5})$/.exec(text);
  if (!found) throw new XsError('EINVAL');
  return { access: found[1] as Access, domid: Number(found[2]) };
}

/** A list longer than a payload is read in parts from an offset; the part that reaches the end is ended by an empty name. */
function directoryPart(names: readonly string[], generation: number, offset: number): string {
  const all = strings(names);
  const head = `${generation}\0`;
  const room = XENSTORE_PAYLOAD_MAX - head.length - 1;
  const rest = all.slice(offset);
  if (rest.length <= room) return `${head}${rest}\0`;
  return head + rest.slice(0, rest.lastIndexOf('\0', room - 1) + 1);
}

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [XS_READ, (c, [path], m) => c.on(m, (view) => view.read(c.path(path), c.domid))],
  [XS_DIRECTORY, (c, [path], m) => c.on(m, (view) => strings(view.list(c.path(path), c.domid).names))],
  [
    XS_DIRECTORY_PART,
    (c, [path, offset], m) =>
      c.on(m, (view) => {
        const { names, generation } = view.list(c.path(path), c.domid);
        return directoryPart(names, generation, number(offset));
      }),
  ],
  [
    XS_GET_PERMS,
    (c, [path], m) =>
      c.on(m, (view) => strings(view.permissions(c.path(path), c.domid).map((entry) => entry.access + entry.domid))),
  ],
  [
    XS_WRITE,
    (c, [path], m) => {
      if (!m.payload.includes('\0')) throw new XsError('EINVAL');
      c.on(m, (view) => view.write(c.path(path), m.payload.slice(path!.length + 1), c.domid));
      return OK;
    },
  ],
  [
    XS_MKDIR,
    (c, [path], m) => {
      c.on(m, (view) => view.mkdir(c.path(path), c.domid));
      return OK;
    },
  ],
  [
    XS_RM,
    (c, [path], m) => {
      c.on(m, (view) => view.remove(c.path(path), c.domid));
      return OK;
    },
  ],
  [
    XS_SET_PERMS,
    (c, [path, ...entries], m) => {
      const permissions = entries.filter((entry) => entry !== '').map(permission);
      c.on(m, (view) => view.setPermissions(c.path(path), permissions, c.domid));
      return OK;
    },
  ],
  [
    XS_WATCH,
    (c, pieces) => {
      const [path, token] = pieces;
      if (pieces.length < 3 || path === undefined || token === undefined) throw new XsError('EINVAL');
      c.watch(path, token);
      return OK;
    },
  ],
  [
    XS_UNWATCH,
    (c, pieces) => {
      const [path, token] = pieces;
      if (path === undefined || token === undefined) throw new XsError('EINVAL');
      c.unwatch(path, token);
      return OK;
    },
  ],
  [
    XS_RESET_WATCHES,
    (c) => {
      c.reset();
      return OK;
    },
  ],
  [
    XS_TRANSACTION_START,
    (c, _pieces, m) => {
      if (m.transaction !== 0) throw new XsError('EBUSY');
      return `${c.begin()}\0`;
    },
  ],
  [
    XS_TRANSACTION_END,
    (c, [answer], m) => {
      if (answer !== 'T' && answer !== 'F') throw new XsError('EINVAL');
      c.end(m.transaction, answer === 'T');
      return OK;
    },
  ],
  [XS_GET_DOMAIN_PATH, (_c, [domid]) => `/local/domain/${number(domid)}\0`],
  [XS_IS_DOMAIN_INTRODUCED, (c, [domid]) => (c.exists(number(domid)) ? 'T\0' : 'F\0')],
  // The rest belongs to the control domain.
  ...[XS_CONTROL, XS_INTRODUCE, XS_RELEASE, XS_RESUME, XS_SET_TARGET].map((type) => [type, EACCES] as const),
]);
