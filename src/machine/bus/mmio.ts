/** Device accesses in guest-physical space: the part of the CPU's memory that no RAM page answers. */
import type { PhysicalMemory } from '../../cpu/ports.ts';
import { RangeBus } from './ranges.ts';

export class MmioBus extends RangeBus implements Pick<PhysicalMemory, 'mmioRead' | 'mmioWrite'> {
  mmioRead(address: number, size: number): number {
    return this.read(address, size);
  }

  mmioWrite(address: number, size: number, value: number): void {
    this.write(address, size, value);
  }
}
