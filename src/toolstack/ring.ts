/** One direction of a shared-memory byte ring: free-running 32-bit indexes, a power-of-two buffer. */
import { viewOf } from './bytes.ts';

export interface RingLayout {
  /** Byte offsets in the shared page. */
  readonly buffer: number;
  readonly size: number;
  readonly consumer: number;
  readonly producer: number;
}

const index = (page: Uint8Array, at: number): number => viewOf(page).getUint32(at, true);
const setIndex = (page: Uint8Array, at: number, value: number): void => viewOf(page).setUint32(at, value >>> 0, true);

/** Bytes waiting, or -1 when the indexes are further apart than the ring is long. */
export function waiting(page: Uint8Array, ring: RingLayout): number {
  const count = (index(page, ring.producer) - index(page, ring.consumer)) >>> 0;
  return count > ring.size ? -1 : count;
}

/** Takes up to `limit` waiting bytes out of the ring and moves the consumer index. The indexes must be sound. */
export function take(page: Uint8Array, ring: RingLayout, limit = ring.size): Uint8Array {
  const count = Math.min(Math.max(waiting(page, ring), 0), limit);
  const start = index(page, ring.consumer);
  const out = new Uint8Array(count);
  for (let i = 0; i < count; i++) out[i] = page[ring.buffer + ((start + i) & (ring.size - 1))]!;
  if (count > 0) setIndex(page, ring.consumer, start + count);
  return out;
}

/** Puts in as much of `data` as there is room for and moves the producer index. Returns how many bytes. */
export function put(page: Uint8Array, ring: RingLayout, data: Uint8Array): number {
  const used = waiting(page, ring);
  const count = used < 0 ? 0 : Math.min(ring.size - used, data.length);
  const start = index(page, ring.producer);
  for (let i = 0; i < count; i++) page[ring.buffer + ((start + i) & (ring.size - 1))] = data[i]!;
  if (count > 0) setIndex(page, ring.producer, start + count);
  return count;
}

export function resetIndexes(page: Uint8Array, ring: RingLayout): void {
  setIndex(page, ring.consumer, 0);
  setIndex(page, ring.producer, 0);
}
