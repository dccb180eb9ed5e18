/** Reset control register at port 0xcf9, as the PIIX3 has it: bit 1 asks for a full reset, a write with bit 2 set resets. */
import type { RangeHandler } from '../bus/ranges.ts';

export const RESET_PORT = 0xcf9;
const SYSTEM_RESET = 2;
const RESET_CPU = 4;

export interface ResetPortState {
  readonly version: 1;
  readonly value: number;
}

export class ResetPort implements RangeHandler {
  readonly name = 'reset-port';
  private readonly onReset: () => void;
  private value = 0;

  constructor(onReset: () => void) {
    this.onReset = onReset;
  }

  read(): number {
    return this.value;
  }

  write(_offset: number, _size: number, value: number): boolean {
    this.value = value & SYSTEM_RESET;
    if ((value & RESET_CPU) !== 0) this.onReset();
    return true;
  }

  reset(): void {
    this.value = 0;
  }

  save(): ResetPortState {
    return { version: 1, value: this.value };
  }

  load(state: ResetPortState): void {
    this.value = state.value;
  }
}
