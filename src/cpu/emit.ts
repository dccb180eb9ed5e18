/**
 * Arithmetic and flags of instruction meanings, common to both back ends. Where registers, memory and the instruction
 * pointer live is left to the subclasses.
 *
 * Flags are lazy: FLAG_RESULT holds the last result sign-extended to 64 bits, FLAG_BITS holds CF, AF and OF at their EFLAGS
 * positions. ZF is result == 0, SF is result < 0, PF is the parity of its low byte. Bits SF and PF of FLAG_BITS invert
 * what the result says, so that any combination (POPF) can be stored.
 */
import { ADD, arithmetic, DEC, differenceBits, type FlagOperation, INC, LOGIC, SUB, sumBits, topBit } from './flags.ts';
import type { TransferName } from './interpret/transfers.ts';
import type { Operand, Semantics, Width } from './semantics.ts';
import * as S from './state.ts';
import type { FunctionBody } from './wasm/function.ts';
import { c32, c64, I32, type Val } from './wasm/value.ts';

const MASK: Readonly<Record<number, bigint>> = { 8: 0xffn, 16: 0xffffn, 32: 0xffff_ffffn };

export abstract class Emitter implements Semantics {
  abstract readonly f: FunctionBody;
  abstract readonly width: Width;

  abstract state64(offset: number): Val;
  abstract state32(offset: number): Val;
  abstract setState64(offset: number, value: Val): void;
  abstract setState32(offset: number, value: Val): void;
  abstract reg(index: number, width: Width): Val;
  abstract setReg(index: number, width: Width, value: Val): void;
  abstract nextRip(): Val;
  abstract jump(target: Val): void;
  abstract relative(displacement: Operand): Val;
  abstract jumpRelative(displacement: Operand): void;
  abstract checkTarget(target: Val): void;
  abstract push(width: Width, value: Val): void;
  abstract stackRead(width: Width): Val;
  abstract moveStack(distance: Val): void;
  abstract plainMemory(linear: Val, bytes: number, write: boolean): Val;
  abstract memory(linear: Val, width: Width, stack?: boolean): Operand;
  abstract fault(vector: number, code?: Val): void;
  abstract faultRecorded(condition: Val): void;
  abstract callHelper(index: number, a: Val, b: Val): Val;
  abstract callSystem(index: number, a: Val, b: Val): void;
  abstract routine(): void;
  abstract transfer(name: TransferName, operand: Val): void;
  abstract leave(): void;
  abstract again(): void;
  abstract finished(): void;
  abstract prefix(): { f3: () => Val; f2: () => Val };
  abstract stringSource(): { mask: Val; base: Val; segment: Val; checked: Val };
  abstract segmentCheck(segment: Val | number, offset: Val, bytes: number, write: boolean): void;

  // ---- widths ----

  zx(width: Width, a: Val): Val {
    if (width >= 64) return a;
    return this.f.op('i64.and', a, c64(MASK[width]));
  }

  sx(width: Width, a: Val): Val {
    if (width === 64) return a;
    return this.f.op(width === 8 ? 'i64.extend8_s' : width === 16 ? 'i64.extend16_s' : 'i64.extend32_s', a);
  }

  // ---- flags ----

  setFlags(result: Val, bits: Val, width: Width = this.width): void {
    this.setState64(S.FLAG_RESULT, this.sx(width, result));
    this.setState32(S.FLAG_BITS, bits);
  }

  carry(): Val {
    return this.f.op('i32.and', this.state32(S.FLAG_BITS), c32(1));
  }

  setCarry(bit: Val): void {
    const { f } = this;
    this.setState32(S.FLAG_BITS, f.op('i32.or', f.op('i32.and', this.state32(S.FLAG_BITS), c32(~1)), bit));
  }

  private zero(): Val {
    return this.f.op('i64.eqz', this.state64(S.FLAG_RESULT));
  }

  private sign(): Val {
    const { f } = this;
    const negative = f.op('i64.lt_s', this.state64(S.FLAG_RESULT), c64(0n));
    return f.op('i32.xor', negative, f.op('i32.and', f.op('i32.shr_u', this.state32(S.FLAG_BITS), c32(7)), c32(1)));
  }

  private overflow(): Val {
    const { f } = this;
    return f.op('i32.and', f.op('i32.shr_u', this.state32(S.FLAG_BITS), c32(11)), c32(1));
  }

  private parity(): Val {
    const { f } = this;
    const low = f.op('i32.and', f.op('i32.wrap_i64', this.state64(S.FLAG_RESULT)), c32(0xff));
    const odd = f.op('i32.and', f.op('i32.popcnt', low), c32(1));
    const inverted = f.op('i32.and', f.op('i32.shr_u', this.state32(S.FLAG_BITS), c32(2)), c32(1));
    return f.op('i32.xor', f.op('i32.xor', odd, c32(1)), inverted);
  }

  condition(code: number): Val {
    const { f } = this;
    let value: Val;
    switch (code >> 1) {
      case 0:
        value = this.overflow();
        break;
      case 1:
        value = this.carry();
        break;
      case 2:
        value = this.zero();
        break;
      case 3:
        value = f.op('i32.or', this.carry(), this.zero());
        break;
      case 4:
        value = this.sign();
        break;
      case 5:
        value = this.parity();
        break;
      case 6:
        value = f.op('i32.xor', this.sign(), this.overflow());
        break;
      default:
        value = f.op('i32.or', this.zero(), f.op('i32.xor', this.sign(), this.overflow()));
    }
    return (code & 1) === 0 ? value : f.op('i32.xor', value, c32(1));
  }

  readArithmeticFlags(): Val {
    const { f } = this;
    const bits = f.op('i32.and', this.state32(S.FLAG_BITS), c32(S.CF | S.AF | S.OF));
    const part = (bit: Val, shift: number) => f.op('i32.shl', bit, c32(shift));
    return f.op(
      'i32.or',
      f.op('i32.or', bits, part(this.parity(), 2)),
      f.op('i32.or', part(this.zero(), 6), part(this.sign(), 7)),
    );
  }

  writeArithmeticFlags(bits: Val): void {
    const { f } = this;
    // The result 0 has PF and ZF set and SF clear; the result 1 has all three clear.
    const zero = f.op('i32.and', f.op('i32.shr_u', bits, c32(6)), c32(1));
    const result = f.op('i64.extend_i32_u', f.op('i32.xor', zero, c32(1)));
    const kept = f.op('i32.and', bits, c32(S.CF | S.AF | S.OF | S.SF));
    const parity = f.op('i32.and', f.op('i32.xor', bits, f.op('i32.shl', zero, c32(2))), c32(S.PF));
    this.setFlags(result, f.op('i32.or', kept, parity), 64);
  }

  flagsOf(operation: FlagOperation, a: Val, b: Val): void {
    operation.flags(this, a, b);
  }

  // ---- arithmetic ----

  add(a: Val, b: Val): Val {
    const r = arithmetic(this, 'add', a, b);
    this.flagsOf(ADD, a, b);
    return r;
  }

  adc(a: Val, b: Val): Val {
    const { f, width } = this;
    const r = this.zx(width, f.op('i64.add', f.op('i64.add', a, b), f.op('i64.extend_i32_u', this.carry())));
    // Carry out of the top bit: both set, or one set and the result's bit clear.
    const out = f.op(
      'i64.or',
      f.op('i64.and', a, b),
      f.op('i64.and', f.op('i64.or', a, b), f.op('i64.xor', r, c64(-1n))),
    );
    this.setFlags(r, sumBits(this, a, b, r, topBit(this, out)));
    return r;
  }

  sub(a: Val, b: Val): Val {
    const r = arithmetic(this, 'sub', a, b);
    this.flagsOf(SUB, a, b);
    return r;
  }

  sbb(a: Val, b: Val): Val {
    const { f, width } = this;
    const r = this.zx(width, f.op('i64.sub', f.op('i64.sub', a, b), f.op('i64.extend_i32_u', this.carry())));
    const notA = f.op('i64.xor', a, c64(-1n));
    const out = f.op('i64.or', f.op('i64.and', notA, b), f.op('i64.and', f.op('i64.or', notA, b), r));
    this.setFlags(r, differenceBits(this, a, b, r, topBit(this, out)));
    return r;
  }

  private logic(name: 'and' | 'or' | 'xor', a: Val, b: Val): Val {
    const r = this.width === 32 ? arithmetic(this, name, a, b) : this.f.op(`i64.${name}`, a, b);
    this.flagsOf(LOGIC, r, c64(0n));
    return r;
  }

  and(a: Val, b: Val): Val {
    return this.logic('and', a, b);
  }
  or(a: Val, b: Val): Val {
    return this.logic('or', a, b);
  }
  xor(a: Val, b: Val): Val {
    return this.logic('xor', a, b);
  }

  inc(a: Val): Val {
    return this.step(INC, a, 1n);
  }
  dec(a: Val): Val {
    return this.step(DEC, a, -1n);
  }

  private step(operation: FlagOperation, a: Val, by: 1n | -1n): Val {
    const r = arithmetic(this, 'add', a, c64(by));
    this.stepFlags(operation, r);
    return r;
  }

  /** Flags of INC or DEC with a result: CF stays. */
  protected stepFlags(operation: FlagOperation, r: Val): void {
    this.flagsOf(operation, r, this.f.op('i64.extend_i32_u', this.carry()));
  }

  // ---- control ----

  faultIf(condition: Val, vector: number, code?: Val): void {
    this.f.ifRarely(condition, () => this.fault(vector, code));
  }

  pop(width: Width): Val {
    const value = this.stackRead(width);
    this.moveStack(c64(width / 8));
    return value;
  }

  /** Low 32 bits of an i64. */
  low32(v: Val): Val {
    return v.type === I32 ? v : this.f.op('i32.wrap_i64', v);
  }
}
