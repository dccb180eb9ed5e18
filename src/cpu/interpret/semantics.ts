/**
 * The interpreter's back end: operands are fields of the decoded record, registers live in the state block.
 *
 * A handler is a function (cpu, record, ip) -> status; see status.ts.
 */

import * as R from '../decode/record.ts';
import { Emitter } from '../emit.ts';
import type { OperandSpec } from '../isa/encoding.ts';
import { widthBits } from '../isa/encoding.ts';
import type { Variant } from '../isa/plan.ts';
import { SLOW_STACK, SLOW_UPDATE, SLOW_WRITE } from '../mmu/access.ts';
import { FILL_WRITE } from '../mmu/emitted-walk.ts';
import type { Operand, Width } from '../semantics.ts';
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import { c32, c64, I32, type Val } from '../wasm/value.ts';
import type { Imports } from './handler.ts';
import * as status from './status.ts';
import type { TransferName } from './transfers.ts';

const LOAD = { 8: 'i64.load8_u', 16: 'i64.load16_u', 32: 'i64.load32_u', 64: 'i64.load' } as const;
const STORE = { 8: 'i64.store8', 16: 'i64.store16', 32: 'i64.store32', 64: 'i64.store' } as const;

export class InterpreterSemantics extends Emitter {
  readonly f: FunctionBody;
  width: Width;
  variant: Variant;
  readonly imports: Imports;
  readonly cpu: Val;
  readonly record: Val;
  readonly ip: Val;
  protected readonly result: Val;

  constructor(f: FunctionBody, variant: Variant, imports: Imports) {
    super();
    this.f = f;
    this.variant = variant;
    this.imports = imports;
    this.cpu = f.param(0);
    this.record = f.param(1);
    this.ip = f.param(2);
    this.result = f.variable(I32);
    this.width = operationWidth(variant);
  }

  /** Ends the handler. */
  finish(): void {
    this.f.push(this.result);
  }

  // ---- registers and state ----

  state64(offset: number): Val {
    return this.f.load('i64.load', this.cpu, offset);
  }
  state32(offset: number): Val {
    return this.f.load('i32.load', this.cpu, offset);
  }
  setState64(offset: number, value: Val): void {
    this.f.store('i64.store', this.cpu, value, offset);
  }
  setState32(offset: number, value: Val): void {
    this.f.store('i32.store', this.cpu, value, offset);
  }

  reg(index: number, width: Width): Val {
    return this.f.load(LOAD[width as 64], this.cpu, S.gpr(index));
  }
  setReg(index: number, width: Width, value: Val): void {
    this.f.store(width === 32 ? 'i64.store' : STORE[width as 64], this.cpu, value, S.gpr(index));
  }

  field16(at: number): Val {
    return this.f.load('i32.load16_u', this.record, at);
  }
  field8(at: number): Val {
    return this.f.load('i32.load8_u', this.record, at);
  }

  /** Address of a register named by a record field. */
  registerAt(field: number): Val {
    return this.f.op('i32.add', this.cpu, this.field16(field));
  }

  // ---- control ----

  status(bits: number): void {
    this.f.assign(this.result, this.f.op('i32.or', this.result, c32(bits)));
  }
  protected statusFrom(v: Val): void {
    this.f.assign(this.result, this.f.op('i32.or', this.result, v));
  }

  nextRip(): Val {
    return this.f.op('i64.add', this.ip, this.f.load('i64.load8_u', this.record, R.R_LENGTH));
  }

  checkTarget(target: Val): void {
    const { f } = this;
    const is64 = f.op('i32.and', this.state32(S.MODE), c32(S.MODE_64));
    const bad = f.either(
      is64,
      () => {
        const high = f.op('i64.shr_s', target, c64(47n));
        return f.op('i64.gt_u', f.op('i64.add', high, c64(1n)), c64(1n));
      },
      () => f.op('i64.gt_u', target, f.load('i64.load32_u', this.cpu, S.seg(S.CS) + S.SEG_LIMIT)),
      I32,
    );
    this.faultIf(bad, 13, c32(0));
  }

  jump(target: Val): void {
    this.checkTarget(target);
    this.setState64(S.RIP, target);
    this.status(status.JUMPED);
  }

  relative(displacement: Operand): Val {
    return this.zx(this.width, this.f.op('i64.add', this.nextRip(), displacement.get()));
  }
  jumpRelative(displacement: Operand): void {
    this.jump(this.relative(displacement));
  }

  leave(): void {
    this.status(status.LEAVE);
  }
  again(): void {
    this.status(status.AGAIN);
  }
  finished(): void {
    this.setState64(S.RIP, this.nextRip());
    this.status(status.JUMPED);
  }
  transfer(name: TransferName, operand: Val): void {
    const next = this.f.op('i64.and', this.nextRip(), this.state64(S.LINEAR_MASK));
    const bits = this.f.call(this.imports.transfers![name], [this.cpu, operand, next, c32(0)], I32);
    this.f.if(this.f.op('i32.eqz', bits), () => this.routine());
    this.statusFrom(bits);
  }
  routine(): void {
    this.f.return(c32(status.CALL));
  }

  fault(vector: number, code?: Val): void {
    this.setState32(S.FAULT_VECTOR, c32(vector));
    this.setState32(S.FAULT_HAS_CODE, c32(code === undefined ? 0 : 1));
    if (code !== undefined) this.setState32(S.FAULT_CODE, code);
    this.stop();
  }

  faultRecorded(condition: Val): void {
    this.f.ifRarely(condition, () => this.stop());
  }

  /** Ends the instruction with the fault that is recorded. */
  protected stop(): void {
    this.f.return(c32(status.FAULT));
  }
  /** Before calling out: makes RIP and the rest of the state block exact. */
  protected synchronise(): void {}
  /** Bits for a slow access: whose segment the access has. */
  protected slowBits(stack: boolean): number {
    return stack ? SLOW_STACK : 0;
  }
  /** Alignment rule and segment of the current memory operand. */
  operandSegment(): Val {
    return this.field8(R.R_SEGMENT);
  }

  callHelper(index: number, a: Val, b: Val): Val {
    return this.f.call(this.imports.helpers[index], [this.cpu, a, b], I32);
  }

  callSystem(index: number, a: Val, b: Val): void {
    this.synchronise();
    const bits = this.callHelper(index, a, b);
    this.faultRecorded(this.f.op('i32.eq', bits, c32(status.FAULT)));
    this.statusFrom(bits);
  }

  prefix(): { f3: () => Val; f2: () => Val } {
    const flag = (bit: number) => () => this.f.op('i32.and', this.field8(R.R_FLAGS), c32(bit));
    return { f3: flag(R.RECORD_F3), f2: flag(R.RECORD_F2) };
  }

  stringSource(): { mask: Val; base: Val; segment: Val; checked: Val } {
    const { f } = this;
    return {
      mask: f.load('i64.load', f.op('i32.add', this.cpu, this.field16(R.R_MASK))),
      base: f.load('i64.load', f.op('i32.add', this.cpu, this.field16(R.R_SEGMENT_BASE))),
      segment: this.field8(R.R_SEGMENT),
      checked: f.op('i32.and', this.field8(R.R_FLAGS), c32(R.RECORD_SEGMENTED)),
    };
  }

  // ---- memory ----

  segmentCheck(segment: Val | number, offset: Val, bytes: number, write: boolean): void {
    const segmented = this.f.op('i32.and', this.field8(R.R_FLAGS), c32(R.RECORD_SEGMENTED));
    this.f.ifRarely(segmented, () => this.checkSegment(segment, offset, bytes, write));
  }

  protected checkSegment(segment: Val | number, offset: Val, bytes: number, write: boolean): void {
    const { f } = this;
    const number = typeof segment === 'number' ? c32(segment) : segment;
    const descriptor = c32(bytes | (write ? SLOW_WRITE : 0));
    this.faultRecorded(f.call(this.imports.segment, [this.cpu, number, f.op('i32.wrap_i64', offset), descriptor], I32));
  }

  /** TLB entry for an address, and how far the address lies behind the page that is in it. */
  protected lookUp(linear: Val, tagAt: number): { entry: Val; distance: Val; tag: Val } {
    const { f } = this;
    const index = f.op(
      'i32.and',
      f.op('i32.shr_u', f.op('i32.wrap_i64', linear), c32(7)),
      c32((S.TLB_ENTRIES - 1) * S.TLB_ENTRY),
    );
    const entry = f.op('i32.add', this.state32(S.TLB), index);
    const tag = f.load('i64.load', entry, tagAt);
    return { entry, distance: f.op('i64.sub', linear, tag), tag };
  }

  /** Host address for an access, through the TLB; leaves the handler when it faults. */
  host(linear: Val, bytes: number, kind: 'read' | 'write' | 'update', stack = false): Val {
    const { f } = this;
    const { entry, distance, tag } = this.lookUp(linear, kind === 'read' ? S.TLB_READ : S.TLB_WRITE);
    // The unlikely case first, and the address from what is there anyway: that is how the compiler makes the best of it.
    const miss = f.op('i64.gt_u', distance, c64(4096 - bytes));
    return f.eitherRarely(
      miss,
      () => {
        this.setState64(S.SLOW_LINEAR, f.op('i64.add', distance, tag));
        const descriptor =
          bytes | (kind === 'write' ? SLOW_WRITE : kind === 'update' ? SLOW_UPDATE : 0) | this.slowBits(stack);
        this.synchronise();
        const at = f.call(this.imports.slow, [this.cpu, c32(descriptor)], I32);
        f.if(f.op('i32.eqz', at), () => this.stop());
        return at;
      },
      () => f.op('i32.add', f.load('i32.load', entry, S.TLB_HOST), f.op('i32.wrap_i64', distance)),
      I32,
    );
  }

  plainMemory(linear: Val, bytes: number, write: boolean): Val {
    const { f } = this;
    const { entry, distance } = this.lookUp(linear, write ? S.TLB_WRITE : S.TLB_READ);
    return f.either(
      f.op('i64.le_u', distance, c64(4096 - bytes)),
      () => f.op('i32.add', f.load('i32.load', entry, S.TLB_HOST), f.op('i32.wrap_i64', distance)),
      () => {
        const set = this.state32(S.TLB);
        const never = f.op('i32.eq', f.op('i32.sub', set, this.cpu), c32(S.TLB_SETS + S.TLB_NEVER * S.TLB_SET));
        const crosses = f.op('i32.gt_u', f.op('i32.and', f.op('i32.wrap_i64', linear), c32(4095)), c32(4096 - bytes));
        return f.either(
          f.op('i32.or', never, crosses),
          () => c32(0),
          () => {
            const user = f.op('i32.eq', this.state32(S.CPL), c32(3));
            const flags = f.op('i32.or', f.op('i32.shl', user, c32(1)), c32(write ? FILL_WRITE : 0));
            return f.call(this.imports.fill!, [this.cpu, linear, set, flags], I32);
          },
          I32,
        );
      },
      I32,
    );
  }

  /** After a store: hands a staged write over. */
  committed(host: Val): void {
    const { f } = this;
    f.ifRarely(f.op('i32.eq', host, f.op('i32.add', this.cpu, c32(S.BOUNCE))), () =>
      this.statusFrom(f.call(this.imports.commit, [this.cpu], I32)),
    );
  }

  loadAt(host: Val, width: Width): Val {
    return width === 128 ? this.f.load('v128.load', host) : this.f.load(LOAD[width as 64], host);
  }
  storeAt(host: Val, width: Width, value: Val): void {
    if (width === 128) this.f.store('v128.store', host, value);
    else this.f.store(STORE[width as 64], host, value);
  }

  memory(linear: Val, width: Width, stack = false): Operand {
    return new MemoryOperand(this, width, () => ({ offset: linear, linear }), stack ? 'stack' : 'linear');
  }

  // ---- stack ----

  protected stackAddress(offset: Val, bytes: number, write: boolean): Val {
    const { f } = this;
    this.segmentCheck(S.SS, offset, bytes, write);
    return f.op('i64.and', f.op('i64.add', offset, this.state64(S.STACK_BASE)), this.state64(S.LINEAR_MASK));
  }

  push(width: Width, value: Val): void {
    const mask = this.state64(S.STACK_MASK);
    const rsp = this.state64(S.gpr(S.RSP));
    const offset = this.stackOffset(rsp, c64(-width / 8), mask);
    const host = this.host(this.stackAddress(offset, width / 8, true), width / 8, 'write', true);
    this.storeAt(host, width, value);
    this.setStackPointer(rsp, offset, mask);
    this.committed(host);
  }

  /** Where the stack pointer is after a move. */
  protected stackOffset(rsp: Val, distance: Val, mask: Val): Val {
    return this.f.op('i64.and', this.f.op('i64.add', rsp, distance), mask);
  }
  protected setStackPointer(rsp: Val, offset: Val, mask: Val): void {
    const { f } = this;
    const kept = f.op('i64.and', rsp, f.op('i64.xor', mask, c64(-1n)));
    this.setState64(S.gpr(S.RSP), f.op('i64.or', kept, offset));
  }

  stackRead(width: Width): Val {
    const { f } = this;
    const offset = f.op('i64.and', this.state64(S.gpr(S.RSP)), this.state64(S.STACK_MASK));
    return this.loadAt(this.host(this.stackAddress(offset, width / 8, false), width / 8, 'read', true), width);
  }

  moveStack(distance: Val): void {
    const mask = this.state64(S.STACK_MASK);
    const rsp = this.state64(S.gpr(S.RSP));
    this.setStackPointer(rsp, this.stackOffset(rsp, distance, mask), mask);
  }

  // ---- operands ----

  operand(spec: OperandSpec): Operand {
    const { variant, f } = this;
    const size = variant.size === 0 ? 32 : variant.size;
    const width = (spec.fixed !== undefined ? fixedWidth(spec.fixed, size) : widthBits(spec.width, size)) as Width;
    switch (spec.letter) {
      case 'fixed':
        if (spec.fixed === '1' || spec.fixed === '3') return new ImmediateOperand(this.width, c64(Number(spec.fixed)));
        return new RegisterOperand(this, width, f.op('i32.add', this.cpu, c32(fixedOffset(spec.fixed!))), true);
      case 'I':
      case 'J': {
        const value = f.load('i64.load', this.record, R.R_IMMEDIATE);
        // Immediates of `v` operands are sign-extended by the decoder; here they are cut to the operation width.
        const own =
          spec.letter === 'J' || spec.width === 'z' || this.variant.parsed.row.signed === true || spec.width === 'v'
            ? this.width
            : width;
        return new ImmediateOperand(own, spec.letter === 'J' ? value : this.zx(own, value));
      }
      case 'X':
      case 'Y':
        // String operands are addressed by the meaning itself.
        return new ImmediateOperand(width, c64(0n));
      case 'C':
      case 'D':
      case 'S':
        return new ImmediateOperand(64, f.load('i64.load16_u', this.record, R.R_REG));
      case 'G':
      case 'Z':
        return new RegisterOperand(this, width, this.registerAt(R.R_REG), true);
      case 'B':
        return new RegisterOperand(this, width, this.registerAt(R.R_VVVV), true);
      case 'V':
      case 'P':
        return new RegisterOperand(this, width, this.registerAt(R.R_REG), false, spec.letter === 'P');
      case 'O':
        return new MemoryOperand(
          this,
          width,
          () => this.address(f.load('i64.load', this.record, R.R_IMMEDIATE), width),
          'operand',
        );
      default:
        if (variant.memory)
          return new MemoryOperand(this, width, (extra, bits) => this.address(this.effective(extra), bits), 'operand');
        return new RegisterOperand(
          this,
          width,
          this.registerAt(R.R_RM),
          'ER'.includes(spec.letter),
          'QN'.includes(spec.letter),
        );
    }
  }

  /** Offset of the record's memory operand inside its segment. */
  effective(extra: Val | undefined): Val {
    const { f } = this;
    const slot = (at: number) => f.load('i64.load', f.op('i32.add', this.cpu, this.field16(at)));
    const scaled = f.op('i64.shl', slot(R.R_INDEX), f.load('i64.load8_u', this.record, R.R_SCALE));
    let sum = f.op(
      'i64.add',
      f.op('i64.add', slot(R.R_BASE), scaled),
      f.load('i64.load32_s', this.record, R.R_DISPLACEMENT),
    );
    if (extra !== undefined) sum = f.op('i64.add', sum, extra);
    return f.op('i64.and', sum, slot(R.R_MASK));
  }

  private address(offset: Val, _width: Width): { offset: Val; linear: Val } {
    const { f } = this;
    const base = f.load('i64.load', f.op('i32.add', this.cpu, this.field16(R.R_SEGMENT_BASE)));
    return { offset, linear: f.op('i64.and', f.op('i64.add', offset, base), this.state64(S.LINEAR_MASK)) };
  }
}

/** Operand size of `v`-like operands, else the width of the first operand that has one. */
export const operationWidth = (variant: Variant): Width => {
  if (variant.size !== 0) {
    const first = variant.parsed.operands[0];
    if (first === undefined) return variant.size;
    if (first.fixed !== undefined) return fixedWidth(first.fixed, variant.size) as Width;
    const bits = widthBits(first.width, variant.size);
    return (bits === 0 || 'OJI'.includes(first.letter) ? variant.size : bits) as Width;
  }
  for (const o of variant.parsed.operands) {
    const bits = o.fixed !== undefined ? fixedWidth(o.fixed, 32) : widthBits(o.width, 32);
    if (bits !== 0) return bits as Width;
  }
  return 32;
};

export const fixedWidth = (name: string, size: number): number =>
  name === 'rAX' ? size : name === 'AX' || name === 'DX' ? 16 : name === 'EAX' ? 32 : name === 'RAX' ? 64 : 8;

export const fixedOffset = (name: string): number =>
  name === 'CL' ? S.gpr(S.RCX) : name === 'DX' ? S.gpr(S.RDX) : name === 'AH' ? S.gpr(S.RAX) + 1 : S.gpr(S.RAX);

export class ImmediateOperand implements Operand {
  readonly width: Width;
  readonly isMemory = false;
  private readonly value: Val;
  constructor(width: Width, value: Val) {
    this.width = width;
    this.value = value;
  }
  get(): Val {
    return this.value;
  }
  update(): Val {
    return this.value;
  }
  probe(): void {}
  set(): void {
    throw new Error('an immediate cannot be written');
  }
  setZeroing(): void {
    this.set();
  }
  address(): Val {
    throw new Error('an immediate has no address');
  }
  displace(): void {
    this.address();
  }
  linear(): Val {
    return this.address();
  }
}

class RegisterOperand implements Operand {
  readonly width: Width;
  readonly isMemory = false;
  private readonly s: InterpreterSemantics;
  private readonly at: Val;
  /** General registers clear their upper half on 32-bit writes. */
  private readonly general: boolean;
  /** MMX registers are x87 significands: writes set sign and exponent to ones. */
  private readonly mmx: boolean;

  constructor(s: InterpreterSemantics, width: Width, at: Val, general: boolean, mmx = false) {
    this.s = s;
    this.width = width;
    this.at = at;
    this.general = general;
    this.mmx = mmx;
  }
  get(): Val {
    return this.s.loadAt(this.at, this.width);
  }
  update(): Val {
    return this.get();
  }
  probe(): void {}
  set(value: Val): void {
    this.s.storeAt(this.at, this.general && this.width === 32 ? 64 : this.width, value);
    if (this.mmx) this.s.f.store('i64.store16', this.at, c64(0xffffn), 8);
  }
  setZeroing(value: Val): void {
    const { f } = this.s;
    if (this.width !== 128) {
      f.store('i64.store', this.at, c64(0n), 8);
      this.s.storeAt(this.at, 64, value);
    } else this.set(value);
  }
  address(): Val {
    throw new Error('a register has no address');
  }
  displace(): void {
    this.address();
  }
  linear(): Val {
    return this.address();
  }
}

/** Where an address comes from: the instruction's own operand, or a linear address (of the stack) that was checked against its segment. */
type Origin = 'operand' | 'linear' | 'stack';

export class MemoryOperand implements Operand {
  readonly width: Width;
  readonly isMemory = true;
  private readonly s: InterpreterSemantics;
  private readonly resolve: (extra: Val | undefined, width: Width) => { offset: Val; linear: Val };
  private readonly origin: Origin;
  private extra: Val | undefined;
  private place: { offset: Val; linear: Val } | undefined;
  private writable: Val | undefined;

  constructor(
    s: InterpreterSemantics,
    width: Width,
    resolve: (extra: Val | undefined, width: Width) => { offset: Val; linear: Val },
    origin: Origin,
  ) {
    this.s = s;
    this.width = width;
    this.resolve = resolve;
    this.origin = origin;
  }

  private get stack(): boolean {
    return this.origin === 'stack';
  }

  private locate(write: boolean): Val {
    const { s } = this;
    this.place ??= this.resolve(this.extra, this.width);
    if (this.origin === 'operand') s.segmentCheck(s.operandSegment(), this.place.offset, this.width / 8, write);
    const { row } = s.variant.parsed;
    // CMPXCHG16B is the only 128-bit row that may be locked.
    if (this.width === 128 && (row.unit === 'sse' || row.lock === true) && row.unaligned !== true) {
      const { f } = s;
      s.faultIf(f.op('i32.and', f.op('i32.wrap_i64', this.place.linear), c32(15)), 13, c32(0));
    }
    return this.place.linear;
  }

  get(): Val {
    return this.s.loadAt(this.s.host(this.locate(false), this.width / 8, 'read', this.stack), this.width);
  }
  update(): Val {
    this.writable = this.s.host(this.locate(true), this.width / 8, 'update', this.stack);
    return this.s.loadAt(this.writable, this.width);
  }
  probe(): void {
    this.writable ??= this.s.host(this.locate(true), this.width / 8, 'write', this.stack);
  }
  set(value: Val): void {
    this.probe();
    this.s.storeAt(this.writable!, this.width, value);
    this.s.committed(this.writable!);
  }
  setZeroing(value: Val): void {
    this.set(value);
  }
  address(): Val {
    this.place ??= this.resolve(this.extra, this.width);
    return this.place.offset;
  }
  linear(): Val {
    this.place ??= this.resolve(this.extra, this.width);
    return this.place.linear;
  }
  displace(distance: Val): void {
    this.extra = distance;
  }
}
