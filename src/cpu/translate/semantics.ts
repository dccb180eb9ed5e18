/**
 * The translator's back end: operands are known when the code is written, so their places become constants.
 *
 * General registers and flags are locals (registers.ts, flags.ts). They go to the state block where the region is left; every way out
 * leads through one place at its end.
 *
 * What is not ordinary (a fault, a device) is left to the interpreter at the instruction where it happens. The one call in between, the page
 * walk for what the TLB does not know, is marked as rare, so that the values of a region can stay in registers.
 */
import type { Decoded } from '../decode/decoder.ts';
import { isSegmented, registerPlace } from '../decode/record.ts';
import type { FlagOperation } from '../flags.ts';
import type { Imports } from '../interpret/handler.ts';
import {
  fixedOffset,
  fixedWidth,
  ImmediateOperand,
  InterpreterSemantics,
  MemoryOperand,
  operationWidth,
} from '../interpret/semantics.ts';
import * as status from '../interpret/status.ts';
import { type OperandSpec, widthBits } from '../isa/encoding.ts';
import { type Variant, variantOf } from '../isa/plan.ts';
import { besideCode, REFILL_WRITE } from '../mmu/emitted-walk.ts';
import type { Operand, Width } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, I32, I64, type Label, type Val } from '../wasm/value.ts';
import type { RegionBody } from './body.ts';
import { LazyFlags } from './flags.ts';
import { type RememberedPage, RememberedPages } from './pages.ts';
import { Registers } from './registers.ts';

const MASKS = { 16: 0xffffn, 32: 0xffff_ffffn, 64: -1n } as const;
const LOAD = { 8: 'i64.load8_u', 16: 'i64.load16_u', 32: 'i64.load32_u', 64: 'i64.load' } as const;
const STORE = { 8: 'i64.store8', 16: 'i64.store16', 32: 'i64.store32', 64: 'i64.store' } as const;

/** Segments that flatness is about. */
const FLAT: readonly number[] = [S.ES, S.SS, S.DS];

/** Where control goes inside the region. */
export interface RegionFlow {
  /** Continues at an offset from the page's begin: a branch inside the region; false when it has no such place. */
  goto(offset: number): boolean;
  /** Continues at a distance from the page's begin that is only known at run time (i64), if the region may hold it; false when it never does. */
  indirect(distance: Val): boolean;
}

export class TranslatorSemantics extends InterpreterSemantics {
  declare readonly f: RegionBody;
  readonly budget: Val;
  /** RIP of the start of the page. */
  readonly pageIp: Val;
  readonly registers: Registers;
  readonly flags: LazyFlags;
  private readonly mode: number;
  private readonly flow: RegionFlow;
  private readonly tlb: Val;
  readonly pages: RememberedPages;
  /** Stores beside code are looked for before the region is left. */
  storesBeside = false;
  private readonly found: Val;
  private readonly exitOffset: Val;
  /** Where the region ends: with flags that are in locals, and with those that the state block has. */
  private exitLabel: Label = 0;
  private storedExit: Label = 0;
  private insn!: Decoded;
  /** Offset of the current instruction in the page, and of the next. */
  private at = 0;
  private next = 0;
  private unseen = false;
  /** Instructions of the block behind the current one: charged, not yet executed. */
  private ahead = 0;
  /** How deeply the code of the current instruction is nested when it begins. */
  private base = 0;
  /** The result local may hold a reason to leave. */
  private staged = false;
  /** The target that is known to be allowed. */
  private checked: Val | undefined;
  /** While flags are computed from an operation's values: where they go instead of the state. */
  private captured: { result: Val; bits: Val } | undefined;
  private capturing = false;

  constructor(f: RegionBody, imports: Imports, variant: Variant, mode: number, flow: RegionFlow) {
    super(f, variant, imports);
    this.mode = mode;
    this.flow = flow;
    this.budget = f.variable(I32);
    this.pageIp = f.variable(I64);
    this.tlb = f.variable(I32);
    this.found = f.variable(I32);
    this.pages = new RememberedPages(f, this.code64);
    this.exitOffset = f.variable(I64);
    this.registers = new Registers(f, this.cpu, (mode & S.MODE_SIZE) !== S.MODE_64);
    this.flags = new LazyFlags(f, this, this.cpu, imports.flags!);
  }

  private get code64(): boolean {
    return (this.mode & S.MODE_SIZE) === S.MODE_64;
  }
  private get flat(): boolean {
    return (this.mode & S.MODE_SEGMENTED) === 0;
  }

  // ---- the region's frame ----

  /** Writes the region: what comes before and behind the code that `body` writes. */
  frame(body: () => void): void {
    const { f } = this;
    f.structure('block', (stored) => {
      this.storedExit = stored;
      f.structure('block', (label) => {
        this.exitLabel = label;
        body();
      });
      this.flags.leave();
    });
    f.reachable = true;
    this.setState64(S.RIP, f.op('i64.add', this.pageIp, this.exitOffset));
    f.store('i32.store', this.cpu, this.budget, S.BUDGET);
    this.registers.store();
    f.push(this.result);
  }

  /** Loads what the region keeps in locals; leaves to the interpreter where the region may not run. */
  enter(refuse: Val): void {
    const { f, cpu } = this;
    const upper = f.op('i32.wrap_i64', this.registers.load());
    f.ifRarely(f.op('i32.or', upper, refuse), () => f.return(c32(status.INTERPRET)));
    f.reachable = true;
    f.assign(this.budget, f.load('i32.load', cpu, S.BUDGET));
    f.assign(this.tlb, f.load('i32.load', cpu, S.TLB));
    this.pages.enter();
  }

  /** Begins one instruction; `unseen`: nobody looks at the flags behind it. */
  begin(d: Decoded, offset: number, ahead: number, unseen: boolean): void {
    this.insn = d;
    this.unseen = unseen;
    this.at = offset;
    this.next = offset + d.length;
    this.ahead = ahead;
    this.staged = false;
    this.base = this.f.nesting;
    this.checked = undefined;
    this.variant = variantOf(d.parsed, d.operandSize, d.memory !== undefined);
    this.width = operationWidth(this.variant);
  }

  /** Ends one instruction that did not jump: leaves the region when its meaning asks for it. */
  end(): void {
    this.leaveIfAsked(c64(this.next), status.LEAVE);
    this.f.release();
  }

  /** Runs code writing that begins instructions of its own, and comes back to the current one. */
  nested(inner: () => void): void {
    const { insn, at, next, ahead, unseen, base, staged, variant, width } = this;
    inner();
    Object.assign(this, { insn, at, next, ahead, unseen, base, staged, variant, width });
  }

  ripAt(offset: number): Val {
    return this.f.op('i64.add', this.pageIp, c64(offset));
  }

  /** Leaves the region at an offset from the page's begin (i64); `bits` tells the dispatch loop how. */
  exit(offset: Val, bits: number, unspent = 0): void {
    const { f } = this;
    f.assign(this.exitOffset, offset);
    if (unspent !== 0) f.assign(this.budget, f.op('i32.add', this.budget, c32(unspent)));
    f.assign(this.result, c32(bits));
    f.br(this.flags.stored ? this.storedExit : this.exitLabel);
  }

  /** The instruction is complete: leaves if its meaning asks for it. */
  private leaveIfAsked(offset: Val, bits: number): void {
    if (this.staged) this.f.ifRarely(this.result, () => this.exit(offset, bits, this.ahead));
  }

  /** Leaves the region before the current instruction, which has had no effect yet: the interpreter does the unusual. */
  private interpret(): void {
    this.exit(c64(this.at), status.INTERPRET, this.ahead + 1);
  }
  override fault(): void {
    this.interpret();
  }
  protected override stop(): void {
    this.interpret();
  }
  override routine(): void {
    this.interpret();
  }
  protected override synchronise(): void {
    this.setState64(S.RIP, this.ripAt(this.at));
    this.setState32(S.BUDGET, this.f.op('i32.add', this.budget, c32(this.ahead)));
  }
  /** The ordinary case of a meaning with a helper for the rest is what regions are for; a meaning that is nothing else calls it. */
  override callHelper(index: number, a: Val, b: Val): Val {
    if (this.f.nesting === this.base) return super.callHelper(index, a, b);
    this.interpret();
    return c32(0);
  }

  /** Host address of plain memory that the TLB knows. */
  override host(linear: Val, bytes: number, kind: 'read' | 'write' | 'update', stack = false): Val {
    const { f } = this;
    const page = this.pages.of(this.insn, bytes, stack);
    if (page !== undefined) return this.nearby(page, linear, bytes, kind);
    const { entry, distance } = this.lookUp(linear, kind === 'read' ? S.TLB_READ : S.TLB_WRITE);
    return f.eitherRarely(
      f.op('i64.gt_u', distance, c64(4096 - bytes)),
      () => this.missed(linear, bytes, kind),
      () => f.op('i32.add', f.load('i32.load', entry, S.TLB_HOST), f.op('i32.wrap_i64', distance)),
      I32,
    );
  }
  /** Host address of what the TLB does not know, after a page walk; leaves the region when it is not plain memory or faults. */
  private missed(linear: Val, bytes: number, kind: 'read' | 'write' | 'update'): Val {
    const { f } = this;
    if (this.storesBeside && kind !== 'read') return this.besideCode(linear, bytes);
    const host = f.call(
      this.imports.refill!,
      [this.cpu, linear, c32(bytes | (kind === 'read' ? 0 : REFILL_WRITE))],
      I32,
    );
    f.ifRarely(f.op('i32.eqz', host), () => this.interpret());
    return host;
  }
  /** Host address for a store that the TLB does not know, when it is one beside the code of a page; leaves the region otherwise. */
  private besideCode(linear: Val, bytes: number): Val {
    const { f, cpu } = this;
    const distance = f.op('i64.sub', linear, f.load('i64.load', cpu, S.BESIDE_LINEAR));
    const found = this.found;
    f.assign(found, c32(0));
    besideCode(f, cpu, distance, c64(bytes), (at) => f.assign(found, at));
    f.if(f.op('i32.eqz', found), () => this.interpret());
    return f.copy(found);
  }

  /** The same, after a look at the page that was met last. */
  private nearby(page: RememberedPage, linear: Val, bytes: number, kind: 'read' | 'write' | 'update'): Val {
    const { f, pages } = this;
    const distance = f.op('i64.sub', linear, page.linear);
    const own = kind === 'read' ? S.TLB_READ : S.TLB_WRITE;
    return f.eitherRarely(
      pages.isFar(page, distance, bytes),
      () => {
        const found = this.lookUp(linear, own);
        return f.eitherRarely(
          f.op('i64.gt_u', found.distance, c64(4096 - bytes)),
          () => this.missed(linear, bytes, kind),
          () => this.meet(page, found, own),
          I32,
        );
      },
      () => f.op('i32.add', page.host, f.op('i32.wrap_i64', distance)),
      I32,
    );
  }
  /** The TLB knew a page: it is remembered if it can be read and written. Host address of what was found. */
  private meet(page: RememberedPage, found: { entry: Val; distance: Val; tag: Val }, own: number): Val {
    const { f, pages } = this;
    const host = f.load('i32.load', found.entry, S.TLB_HOST);
    const other = f.load('i64.load', found.entry, S.TLB_READ + S.TLB_WRITE - own);
    f.if(f.op('i64.eq', other, found.tag), () => pages.remember(page, found.tag, host));
    return f.op('i32.add', host, f.op('i32.wrap_i64', found.distance));
  }
  override committed(): void {}
  override operandSegment(): Val {
    return c32(this.insn.memory?.segment ?? S.DS);
  }
  override leave(): void {
    this.staged = true;
    super.leave();
  }
  override callSystem(index: number, a: Val, b: Val): void {
    this.staged = true;
    this.registers.storeAll();
    this.flags.publish();
    super.callSystem(index, a, b);
    this.pages.forgetAll();
  }
  override transfer(): void {
    throw new Error('control transfers are left to the interpreter');
  }
  override plainMemory(): Val {
    throw new Error('only the interpreter walks page tables on behalf of a meaning');
  }
  override finished(): void {
    throw new Error('repeated string instructions are left to the interpreter');
  }

  protected override stackOffset(rsp: Val, distance: Val, mask: Val): Val {
    const { f } = this;
    if (mask.constant !== MASKS[32]) return super.stackOffset(rsp, distance, mask);
    return f.op('i64.extend_i32_u', f.op('i32.add', this.low32(rsp), this.low32(distance)));
  }
  protected override setStackPointer(rsp: Val, offset: Val, mask: Val): void {
    // Outside 64-bit code nothing is above 32 bits.
    if (!this.code64 && mask.constant === MASKS[32]) this.setState64(S.gpr(S.RSP), offset);
    else super.setStackPointer(rsp, offset, mask);
  }

  // ---- state ----

  override state64(offset: number): Val {
    if (Registers.holds(offset)) return this.registers.get(offset, 64);
    switch (offset) {
      case S.FLAG_RESULT:
        return this.computedFlags().result;
      case S.LINEAR_MASK:
        return c64(MASKS[this.code64 ? 64 : 32]);
      case S.STACK_MASK:
        return c64(MASKS[this.code64 ? 64 : (this.mode & S.MODE_STACK32) !== 0 ? 32 : 16]);
      case S.STACK_BASE:
      case S.STRING_BASE:
        return this.code64 || this.flat ? c64(0n) : super.state64(offset);
      default:
        return super.state64(offset);
    }
  }
  override state32(offset: number): Val {
    switch (offset) {
      case S.FLAG_BITS:
        return this.computedFlags().bits;
      case S.TLB:
        return this.tlb;
      case S.MODE:
        return c32(this.mode);
      default:
        return super.state32(offset);
    }
  }
  override setState64(offset: number, value: Val): void {
    if (Registers.holds(offset)) this.registers.set(offset, 64, value);
    else super.setState64(offset, value);
  }
  override setState32(offset: number, value: Val): void {
    if (offset === S.FLAG_BITS) this.flags.store(this.computedFlags().result, value);
    else super.setState32(offset, value);
  }
  override reg(index: number, width: Width): Val {
    return this.registers.get(S.gpr(index), width);
  }
  override setReg(index: number, width: Width, value: Val): void {
    this.registers.set(S.gpr(index), width, value);
  }

  // ---- flags ----

  override flagsOf(operation: FlagOperation, a: Val, b: Val): void {
    this.flags.remember(operation, this.width as 64, a, b);
  }
  protected override stepFlags(operation: FlagOperation, r: Val): void {
    this.flags.step(operation, this.width as 64, r, this.unseen);
  }
  override setFlags(result: Val, bits: Val, width: Width = this.width): void {
    const whole = this.sx(width, result);
    if (this.capturing) this.captured = { result: whole, bits };
    else this.flags.store(whole, bits);
  }
  /** FLAG_RESULT and FLAG_BITS; what of them nobody uses is not compiled to anything. */
  private computedFlags(): { result: Val; bits: Val } {
    const last = this.flags.operation(true);
    if (last === undefined) return { result: this.flags.result(), bits: this.flags.bits() };
    this.atWidth(last.width, () => {
      this.capturing = true;
      last.operation.flags(this, ...this.flags.values());
      this.capturing = false;
    });
    return this.captured!;
  }
  atWidth<T>(width: Width, inner: () => T): T {
    const own = this.width;
    this.width = width;
    const result = inner();
    this.width = own;
    return result;
  }
  override condition(code: number): Val {
    const last = this.flags.operation(false);
    const [a, b] = this.flags.values();
    const direct =
      last === undefined ? undefined : this.atWidth(last.width, () => last.operation.condition?.(this, code, a, b));
    return direct ?? super.condition(code);
  }

  // ---- control ----

  override nextRip(): Val {
    return this.ripAt(this.next);
  }
  /** Offset a direct branch leads to, when it needs no check: not with 16-bit operands, which cut the instruction pointer. */
  private direct(): number | undefined {
    if (this.width !== this.insn.codeSize || this.width === 16) return undefined;
    const target = BigInt(this.next) + this.insn.immediate;
    return target >= 0n && target < 4096n ? Number(target) : undefined;
  }
  override relative(displacement: Operand): Val {
    return this.zx(this.width, this.f.op('i64.add', this.nextRip(), displacement.get()));
  }
  override checkTarget(target: Val): void {
    const { f } = this;
    if (target === this.checked) return;
    if (f.nesting === this.base) this.checked = target;
    if (!this.code64) {
      // The region is only entered under a limit of 4 GiB.
      if (this.width > 32) this.faultIf(f.op('i64.gt_u', target, c64(MASKS[32])), 13, c32(0));
      return;
    }
    if (this.insn.parsed.operands.some((o) => o.letter === 'J') && this.direct() !== undefined) return;
    const high = f.op('i64.shr_s', target, c64(47n));
    this.faultIf(f.op('i64.gt_u', f.op('i64.add', high, c64(1n)), c64(1n)), 13, c32(0));
  }
  override jumpRelative(): void {
    const target = this.direct();
    if (target === undefined) {
      this.jump(this.zx(this.width, this.ripAt(this.next + Number(this.insn.immediate))));
      return;
    }
    this.leaveIfAsked(c64(target), status.JUMPED | status.LEAVE);
    if (!this.flow.goto(target)) this.exit(c64(target), status.JUMPED);
  }
  override jump(target: Val): void {
    this.checkTarget(target);
    const distance = this.f.op('i64.sub', target, this.pageIp);
    this.leaveIfAsked(distance, status.JUMPED | status.LEAVE);
    if (!this.flow.indirect(distance)) this.exit(distance, status.JUMPED);
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
    if (this.code64 ? segment < S.FS : this.flat && FLAT.includes(segment)) return c64(0n);
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
    const offset = this.offset(extra);
    const memory = this.insn.memory!;
    const base = this.segmentBaseOf(memory.segment);
    if (base.constant === 0n) return { offset, linear: offset };
    const linear = this.f.op('i64.add', offset, base);
    return { offset, linear: this.zx(this.code64 ? 64 : 32, linear) };
  }

  /** Offset of the memory operand in its segment. */
  private offset(extra: Val | undefined): Val {
    const { f } = this;
    const { addressSize } = this.insn;
    const memory = this.insn.memory!;
    const pop = this.insn.row.name === 'POP' && memory.base === S.RSP ? BigInt(this.insn.operandSize / 8) : 0n;
    const parts: Val[] = [];
    const scaled = (): Val => {
      const index = this.reg(memory.index, 64);
      if (addressSize === 32)
        return f.op('i64.extend_i32_u', f.op('i32.shl', f.op('i32.wrap_i64', index), c32(memory.scale)));
      return f.op('i64.shl', index, c64(memory.scale));
    };
    if (memory.base === 16) parts.push(this.nextRip());
    else if (memory.base >= 0) parts.push(this.reg(memory.base, 64));
    if (memory.index >= 0) parts.push(scaled());
    const displacement = c64(memory.displacement + pop);
    if (displacement.constant !== 0n || parts.length === 0) parts.push(displacement);
    if (extra !== undefined) parts.push(extra);
    if (addressSize === 32) {
      const sum = parts.map((p) => f.op('i32.wrap_i64', p)).reduce((p, q) => f.op('i32.add', p, q));
      return f.op('i64.extend_i32_u', sum);
    }
    const sum = parts.reduce((p, q) => f.op('i64.add', p, q));
    return addressSize === 64 ? sum : f.op('i64.and', sum, c64(MASKS[16]));
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
    if (this.general) return s.registers.get(this.offset, this.width);
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
    if (this.general) s.registers.set(this.offset, this.width, value);
    else if (this.width === 128) s.f.store('v128.store', s.cpu, value, this.offset);
    else s.f.store(STORE[this.width], s.cpu, value, this.offset);
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
  linear(): Val {
    return this.address();
  }
}
