/** Port I/O space: 64 Ki ports. */
import type { PortIo } from '../../cpu/ports.ts';
import { RangeBus } from './ranges.ts';

export class PioBus extends RangeBus implements PortIo {
  in(port: number, size: number): number {
    return this.read(port, size);
  }

  out(port: number, size: number, value: number): void {
    this.write(port, size, value);
  }
}
