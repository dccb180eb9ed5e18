/** Serves a connection over a guest's shared page (`xen:public/io/xs_wire.h`, `xen:misc/xenstore-ring.txt`). */
import { concatBytes, viewOf } from '../bytes.ts';
import { put, type RingLayout, resetIndexes, take, waiting } from '../ring.ts';
import { Connection } from './connection.ts';
import type { Store } from './store.ts';
import { decodeMessage, encodeMessage, HEADER_SIZE } from './wire.ts';

const REQUESTS: RingLayout = { buffer: 0, size: 1024, consumer: 2048, producer: 2052 };
const REPLIES: RingLayout = { buffer: 1024, size: 1024, consumer: 2056, producer: 2060 };
const SERVER_FEATURES = 2064;
const CONNECTION = 2068;
const ERROR = 2072;
const FEATURE_RECONNECTION = 1,
  FEATURE_ERROR = 2;
const CONNECTED = 0,
  RECONNECT = 1;
/** Replies and events that may wait for room in the ring; until some went, no further request is looked at. */
const MAXIMUM_OUTGOING = 64;
const ERROR_RINGIDX = 2,
  ERROR_PROTO = 3;

export class RingServer {
  private readonly page: () => Uint8Array | undefined;
  private readonly connection: Connection;
  /** Request bytes of which the message is not complete yet, and replies the ring had no room for. */
  private incoming = new Uint8Array(0);
  private outgoing: Uint8Array[] = [];
  /** After a violation nothing more is served until the guest reconnects. */
  private broken = false;
  private greeted = false;

  constructor(store: Store, domid: number, page: () => Uint8Array | undefined) {
    this.page = page;
    this.connection = new Connection(store, domid, (message) => void this.outgoing.push(encodeMessage(message)));
  }

  /** Takes requests and puts replies. True when the guest is to be notified. */
  service(): boolean {
    const page = this.page();
    if (page === undefined) return false;
    if (!this.greeted) {
      viewOf(page).setUint32(SERVER_FEATURES, FEATURE_RECONNECTION | FEATURE_ERROR, true);
      this.greeted = true;
    }
    if (viewOf(page).getUint32(CONNECTION, true) === RECONNECT) return this.reconnect(page);
    if (this.broken) return false;
    for (let moved = false; ; moved = true) {
      let more = this.flush(page);
      const wait = waiting(page, REQUESTS);
      if (wait < 0 || waiting(page, REPLIES) < 0) return this.fail(page, ERROR_RINGIDX);
      if (wait > 0 && this.outgoing.length < MAXIMUM_OUTGOING) {
        this.incoming = concatBytes(this.incoming, take(page, REQUESTS));
        more = true;
      }
      const before = this.incoming.length;
      if (!this.answer()) return this.fail(page, ERROR_PROTO);
      if (this.incoming.length < before) more = true;
      if (!more) return moved;
    }
  }

  /** Handles complete requests as long as few replies wait. False for a message beyond the payload limit. */
  private answer(): boolean {
    while (this.outgoing.length < MAXIMUM_OUTGOING) {
      const message = decodeMessage(this.incoming);
      if (message === 'too-long') return false;
      if (message === undefined) return true;
      this.incoming = this.incoming.slice(HEADER_SIZE + message.payload.length);
      this.connection.handle(message);
    }
    return true;
  }

  private flush(page: Uint8Array): boolean {
    let moved = false;
    for (let next = this.outgoing[0]; next !== undefined; next = this.outgoing[0]) {
      const count = put(page, REPLIES, next);
      if (count > 0) moved = true;
      if (count < next.length) {
        this.outgoing[0] = next.subarray(count);
        break;
      }
      this.outgoing.shift();
    }
    return moved;
  }

  private fail(page: Uint8Array, error: number): boolean {
    viewOf(page).setUint32(ERROR, error, true);
    this.broken = true;
    return true;
  }

  /** Another kernel took over: everything of the old one is forgotten. What is in the rings is for the new one to clear up. */
  forget(): void {
    this.incoming = new Uint8Array(0);
    this.outgoing = [];
    this.broken = false;
    this.greeted = false;
    this.connection.reset();
  }

  /** The guest asked to start over: rings emptied, watches and transactions gone. */
  private reconnect(page: Uint8Array): boolean {
    this.forget();
    this.greeted = true;
    resetIndexes(page, REQUESTS);
    resetIndexes(page, REPLIES);
    viewOf(page).setUint32(ERROR, 0, true);
    viewOf(page).setUint32(CONNECTION, CONNECTED, true);
    return true;
  }
}
