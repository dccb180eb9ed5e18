/**
 * The translator's back end: operands are known when the code is written, so their places become constants.
 *
 * Registers and flags are written through to the state block, which is exact at every instruction boundary; RIP and BUDGET are
 * written where the region is left or calls out.
 */
import type { Decoded } from '../decode/decoder.ts';
import { isSegmented, registerPlace } from '../decode/record.ts';
import {
  fixedOffset,
  fixedWidth,
  ImmediateOperand,
  type Imports,
  InterpreterSemantics,
  MemoryOperand,
  operationWidth,
} from '../interpret/semantics.ts';
import * as status from '../interpret/status.ts';
import { type OperandSpec, widthBits } from '../isa/encoding.ts';
import { instructionPlan, type Variant, variantNumber } from '../isa/plan.ts';
import { SLOW_KNOWN, SLOW_STACK } from '../mmu/access.ts';
import type { Operand, Width } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, type FunctionBody, type Val } from '../wasm/function.ts';
import { I32, I64 } from '../wasm/opcodes.ts';

const MASKS = { 16: 0xffffn, 32: 0xffff_ffffn, 64: -1n } as const;
const LOAD = { 8: 'i64.load8_u', 16: 'i64.load16_u', 32: 'i64.load32_u', 64: 'i64.load' } as const;
const STORE = { 8: 'i64.store8', 16: 'i64.store16', 32: 'i64.store32', 64: 'i64.store' } as const;

/** Where control goes inside the region. */
export interface RegionFlow {
  /** Continues at an offset in the page: a branch inside the region, or an exit from it. */
  goto(offset: bigint): void;
}

export class TranslatorSemantics extends InterpreterSemantics {
  readonly budget: Val;
  /** RIP of the start of the page. */
  readonly pageIp: Val;
  private readonly mode: number;
  private readonly flow: RegionFlow;
  private insn!: Decoded;
  /** Offset of the current instruction in the page, and of the next. */
  private at = 0;
  private next = 0;
  /** Instructions of the block behind the current one: charged, not yet executed. */
  private ahead = 0;
  private staged = false;

  constructor(f: FunctionBody, imports: Imports, variant: Variant, mode: number, flow: RegionFlow) {
    super(f, variant, imports);
    this.mode = mode;
    this.flow = flow;
    this.budget = f.variable(I32);
    this.pageIp = f.variable(I64);
  }

  /** Begins one instruction. */
  begin(d: Decoded, offset: number, ahead: number): void {
    this.insn = d;
    this.at = offset;
    this.next = offset + d.length;
    this.ahead = ahead;
    this.staged = false;
    const plan = instructionPlan();
    this.variant = plan.variants[variantNumber(plan, d.parsed, d.operandSize, d.memory !== undefined)]!;
    this.width = operationWidth(this.variant);
  }

  /** Ends one instruction that did not jump: leaves the region when a store was staged. */
  end(): void {
    if (this.staged) this.leaveIfAsked(this.ripAt(this.next), status.LEAVE);
    this.f.release();
  }

  private ripAt(offset: number | bigint): Val {
    return this.f.op('i64.add', this.pageIp, c64(offset));
  }

  /** Leaves the region at a RIP; `bits` tells the dispatch loop how. */
  exit(rip: Val, bits: number, unspent = 0): void {
    this.setState64(S.RIP, rip);
    this.setState32(S.BUDGET, unspent === 0 ? this.budget : this.f.op('i32.add', this.budget, c32(unspent)));
    this.f.return(c32(bits));
  }

  private leaveIfAsked(rip: Val, bits: number): void {
    this.f.if(this.result, () => this.exit(rip, bits, this.ahead));
  }

  protected override stop(): void {
    this.exit(this.ripAt(this.at), status.FAULT, this.ahead);
  }
  protected override synchronise(): void {
    this.setState64(S.RIP, this.ripAt(this.at));
    this.setState32(S.BUDGET, this.f.op('i32.add', this.budget, c32(this.ahead)));
  }
  protected override slowBits(stack: boolean): number {
    return SLOW_KNOWN | (stack || this.insn.memory?.segment === S.SS ? SLOW_STACK : 0);
  }
  override operandSegment(): Val {
    return c32(this.insn.memory?.segment ?? S.DS);
  }
  override committed(host: Val): void {
    this.staged = true;
    super.committed(host);
  }

  override nextRip(): Val {
    return this.ripAt(this.next);
  }
  override relative(displacement: Operand): Val {
    return this.zx(this.width, this.f.op('i64.add', this.nextRip(), displacement.get()));
  }
  override jumpRelative(): void {
    const target = BigInt(this.next) + this.insn.immediate;
    // A 16-bit jump cuts the instruction pointer, which may be larger under a code segment limit of 4 GiB.
    if (this.width === this.insn.codeSize && this.width !== 16 && target >= 0n && target < 4096n) {
      if (this.staged) this.leaveIfAsked(this.ripAt(target), status.JUMPED | status.LEAVE);
      this.flow.goto(target);
    } else this.jump(this.zx(this.width, this.ripAt(target)));
  }
  override jump(target: Val): void {
    this.checkTarget(target);
    if (this.staged) this.leaveIfAsked(target, status.JUMPED | status.LEAVE);
    this.exit(target, status.JUMPED, 0);
  }
  override leave(): void {
    this.staged = true;
    super.leave();
  }
  override callSystem(index: number, a: Val, b: Val): void {
    this.staged = true;
    super.callSystem(index, a, b);
  }
  override routine(): void {
    this.exit(this.ripAt(this.at), status.INTERPRET, this.ahead + 1);
  }
  override finished(): void {
    throw new Error('repeated string instructions are left to the interpreter');
  }
  override prefix(): { f3: () => Val; f2: () => Val } {
    return { f3: () => c32(0), f2: () => c32(0) };
  }
  override stringSource(): { mask: Val; base: Val; segment: Val; checked: Val } {
    const segment = this.insn.memory?.segment ?? S.DS;
    const checked = c32(isSegmented(this.insn, this.mode) ? 1 : 0);
    return {
      mask: c64(MASKS[this.insn.addressSize]),
      base: this.segmentBaseOf(segment),
      segment: c32(segment),
      checked,
    };
  }
  override segmentCheck(segment: Val | number, offset: Val, bytes: number, write: boolean): void {
    if (isSegmented(this.insn, this.mode)) this.checkSegment(segment, offset, bytes, write);
  }

  private segmentBaseOf(segment: number): Val {
    if (this.insn.codeSize === 64 && segment < S.FS) return c64(0n);
    return this.state64(S.seg(segment));
  }

  override operand(spec: OperandSpec): Operand {
    const d = this.insn;
    const size = this.variant.size === 0 ? 32 : this.variant.size;
    const width = (spec.fixed !== undefined ? fixedWidth(spec.fixed, size) : widthBits(spec.width, size)) as Width;
    if (spec.fixed !== undefined) {
      if (spec.fixed === '1' || spec.fixed === '3') return new ImmediateOperand(this.width, c64(Number(spec.fixed)));
      return new PlacedRegister(this, width, fixedOffset(spec.fixed), true);
    }
    if (spec.letter === 'X' || spec.letter === 'Y') return new ImmediateOperand(width, c64(0n));
    if ('CDS'.includes(spec.letter)) return new ImmediateOperand(64, c64(d.reg));
    if (spec.letter === 'I' || spec.letter === 'J') {
      const wide = spec.letter === 'J' || spec.width === 'z' || spec.width === 'v' || d.row.signed === true;
      const own = wide ? this.width : width;
      const value = spec.letter === 'J' || own >= 64 ? d.immediate : BigInt.asUintN(own, d.immediate);
      return new ImmediateOperand(own, c64(value));
    }
    const place = registerPlace(spec, d);
    if (place !== undefined)
      return new PlacedRegister(
        this,
        width,
        place.offset,
        !'VWUPQN'.includes(spec.letter),
        'PQN'.includes(spec.letter),
      );
    return new MemoryOperand(this, width, (extra) => this.place(extra), 'operand');
  }

  private place(extra: Val | undefined): { offset: Val; linear: Val } {
    const { f } = this;
    const memory = this.insn.memory!;
    const pop = this.insn.row.name === 'POP' && memory.base === S.RSP ? BigInt(this.insn.operandSize / 8) : 0n;
    let sum: Val = c64(memory.displacement + pop);
    if (memory.base === 16) sum = f.op('i64.add', this.nextRip(), sum);
    else if (memory.base >= 0)
      sum =
        memory.displacement + pop === 0n ? this.reg(memory.base, 64) : f.op('i64.add', this.reg(memory.base, 64), sum);
    if (memory.index >= 0) sum = f.op('i64.add', sum, f.op('i64.shl', this.reg(memory.index, 64), c64(memory.scale)));
    if (extra !== undefined) sum = f.op('i64.add', sum, extra);
    const { addressSize, codeSize } = this.insn;
    const offset = addressSize === 64 ? sum : f.op('i64.and', sum, c64(MASKS[addressSize]));
    if (codeSize === 64 && memory.segment < S.FS) return { offset, linear: offset };
    const linear = f.op('i64.add', offset, this.segmentBaseOf(memory.segment));
    return { offset, linear: codeSize === 64 ? linear : f.op('i64.and', linear, c64(0xffff_ffffn)) };
  }
}

/** A register whose place in the state block is known. */
class PlacedRegister implements Operand {
  readonly width: Width;
  readonly isMemory = false;
  private readonly s: TranslatorSemantics;
  private readonly offset: number;
  private readonly general: boolean;
  /** MMX registers are x87 significands: writes set sign and exponent to ones. */
  private readonly mmx: boolean;

  constructor(s: TranslatorSemantics, width: Width, offset: number, general: boolean, mmx = false) {
    this.s = s;
    this.width = width;
    this.offset = offset;
    this.general = general;
    this.mmx = mmx;
  }
  get(): Val {
    const { s } = this;
    return this.width === 128
      ? s.f.load('v128.load', s.cpu, this.offset)
      : s.f.load(LOAD[this.width], s.cpu, this.offset);
  }
  update(): Val {
    return this.get();
  }
  probe(): void {}
  set(value: Val): void {
    const { s } = this;
    if (this.width === 128) s.f.store('v128.store', s.cpu, value, this.offset);
    else s.f.store(this.general && this.width === 32 ? 'i64.store' : STORE[this.width], s.cpu, value, this.offset);
    if (this.mmx) s.f.store('i64.store16', s.cpu, c64(0xffffn), this.offset + 8);
  }
  setZeroing(value: Val): void {
    if (this.width !== 128) {
      this.s.setState64(this.offset + 8, c64(0n));
      this.s.setState64(this.offset, value);
    } else this.set(value);
  }
  address(): Val {
    throw new Error('a register has no address');
  }
  displace(): void {
    this.address();
  }
}
