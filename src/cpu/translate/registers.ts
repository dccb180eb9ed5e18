/**
 * General registers inside a region: one local each, loaded where the region is entered and stored where it is left.
 *
 * Reads give copies, so a value stays what it was when its register is written later.
 */
import type { Width } from '../semantics.ts';
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import { c64, I64, type Val } from '../wasm/value.ts';

const MASK = { 8: 0xffn, 16: 0xffffn, 32: 0xffff_ffffn } as const;
const COUNT = 16;

export class Registers {
  private readonly f: FunctionBody;
  private readonly cpu: Val;
  private readonly locals: (Val | undefined)[] = new Array<Val | undefined>(COUNT).fill(undefined);
  private readonly written: boolean[] = new Array<boolean>(COUNT).fill(false);
  /** Outside 64-bit code registers have 32 bits: upper halves are zero, or the region is not entered. */
  private readonly narrow: boolean;

  constructor(f: FunctionBody, cpu: Val, narrow: boolean) {
    this.f = f;
    this.cpu = cpu;
    this.narrow = narrow;
  }

  /** Is a place in the state block one of a general register? */
  static holds(offset: number): boolean {
    return offset >= S.GPR && offset < S.GPR + COUNT * 8;
  }

  private local(offset: number): Val {
    const index = (offset - S.GPR) >>> 3;
    this.locals[index] ??= this.f.variable(I64);
    return this.locals[index];
  }

  /** Reads a register, or its bits 8-15 when the place is one byte further. */
  get(offset: number, width: Width): Val {
    const { f } = this;
    const whole = this.local(offset);
    if (width === 64 || (width === 32 && this.narrow)) return f.copy(whole);
    const from = (offset & 7) === 0 ? whole : f.op('i64.shr_u', whole, c64(8n));
    return f.op('i64.and', from, c64(MASK[width as 8]));
  }

  /** Writes zero-extended bits; 8- and 16-bit writes keep the rest. */
  set(offset: number, width: Width, value: Val): void {
    const { f } = this;
    const whole = this.local(offset);
    this.written[(offset - S.GPR) >>> 3] = true;
    if (width >= 32) {
      f.assign(whole, value);
      return;
    }
    const shift = (offset & 7) === 0 ? 0n : 8n;
    const mask = MASK[width as 8];
    const kept = f.op('i64.and', whole, c64(~(mask << shift)));
    f.assign(whole, f.op('i64.or', kept, f.op('i64.shl', f.op('i64.and', value, c64(mask)), c64(shift))));
  }

  /** Loads every register that the region uses; the bits that must be clear outside 64-bit code, all together. */
  load(): Val {
    const { f, cpu } = this;
    let upper: Val = c64(0n);
    this.locals.forEach((local, index) => {
      if (local === undefined) return;
      f.assign(local, f.load('i64.load', cpu, S.gpr(index)));
      if (this.narrow) upper = f.op('i64.or', upper, local);
    });
    return f.op('i64.shr_u', upper, c64(32n));
  }

  /** Stores all registers, for TypeScript that looks at them. */
  storeAll(): void {
    const { f, cpu } = this;
    for (let index = 0; index < (this.narrow ? COUNT / 2 : COUNT); index++)
      f.store('i64.store', cpu, this.local(S.gpr(index)), S.gpr(index));
  }

  /** Stores every register that the region writes. */
  store(): void {
    const { f, cpu } = this;
    this.locals.forEach((local, index) => {
      if (local !== undefined && this.written[index]) f.store('i64.store', cpu, local, S.gpr(index));
    });
  }
}
