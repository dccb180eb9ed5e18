/**
 * Advanced power management ports 0xb2 (control) and 0xb3 (status) of the PIIX4: firmware writes a command to hand the ACPI registers to
 * the operating system, or to take them back. Commands are those of the FADT that Xen's firmware builds.
 */
import type { RangeHandler } from '../bus/ranges.ts';

export const APM_PORT = 0xb2;
const ACPI_ENABLE = 0xf1;
const ACPI_DISABLE = 0xf0;

export interface ApmState {
  readonly version: 1;
  readonly control: number;
  readonly status: number;
}

export class Apm implements RangeHandler {
  readonly name = 'apm';
  private readonly onAcpi: (on: boolean) => void;
  private control = 0;
  private status = 0;

  /** `onAcpi`: SCI_EN of the PM1 control register shall be set or cleared. */
  constructor(onAcpi: (on: boolean) => void) {
    this.onAcpi = onAcpi;
  }

  read(offset: number): number {
    return offset === 0 ? this.control : this.status;
  }

  write(offset: number, _size: number, value: number): boolean {
    if (offset !== 0) {
      this.status = value;
      return true;
    }
    this.control = value;
    if (value === ACPI_ENABLE || value === ACPI_DISABLE) this.onAcpi(value === ACPI_ENABLE);
    return true;
  }

  reset(): void {
    this.control = 0;
    this.status = 0;
  }

  save(): ApmState {
    return { version: 1, control: this.control, status: this.status };
  }

  load(state: ApmState): void {
    this.control = state.control;
    this.status = state.status;
  }
}
