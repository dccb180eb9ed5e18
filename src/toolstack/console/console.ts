/** The back end of the paravirtual console (`xen:public/io/console.h`). */
import { put, type RingLayout, take, waiting } from '../ring.ts';

const INPUT: RingLayout = { buffer: 0, size: 1024, consumer: 3072, producer: 3076 };
const OUTPUT: RingLayout = { buffer: 1024, size: 2048, consumer: 3080, producer: 3084 };

export interface ConsolePort {
  /** The shared page as it is now, or undefined when the guest has taken it away. */
  page(): Uint8Array | undefined;
  /** What the guest wrote. */
  output(bytes: Uint8Array): void;
}

export class Console {
  private readonly port: ConsolePort;
  /** Input the ring had no room for yet. */
  private backlog: Uint8Array[] = [];

  constructor(port: ConsolePort) {
    this.port = port;
  }

  /** Queues input for the guest; it reaches the ring with the next {@link service}. */
  input(bytes: Uint8Array): void {
    if (bytes.length > 0) this.backlog.push(bytes);
  }

  /** Moves output out and input in. True when something moved, that is when the guest is to be notified. */
  service(): boolean {
    const page = this.port.page();
    if (page === undefined) return false;
    let moved = false;
    // Indexes too far apart are the guest's mistake; nothing is taken until it repairs them.
    if (waiting(page, OUTPUT) > 0) {
      this.port.output(take(page, OUTPUT));
      moved = true;
    }
    for (let next = this.backlog[0]; next !== undefined; next = this.backlog[0]) {
      const count = put(page, INPUT, next);
      if (count > 0) moved = true;
      if (count < next.length) {
        this.backlog[0] = next.subarray(count);
        break;
      }
      this.backlog.shift();
    }
    return moved;
  }
}
