/**
 * Body of one WebAssembly function, written through values held in locals.
 *
 * Every operation takes values and leaves its result in a fresh local, so the order of evaluation is the order of the
 * calls and nothing can be evaluated twice by mistake. Locals are recycled at `release()`, which the back ends call between
 * guest instructions.
 */
import { Bytes } from './bytes.ts';
import { COMMUTES, fold, isAbsorbing, isNeutral } from './fold.ts';
import { LANES, type LaneOp, LOADS, type LoadOp, OPS, type Op, STORES, type StoreOp } from './opcodes.ts';
import { c32, c64, F32, F64, I32, I64, type Label, V128, type Val, type ValType } from './value.ts';

const TYPES: readonly ValType[] = [I32, I64, F32, F64, V128];

export class FunctionBody {
  private code = new Bytes();
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
  private readonly locals: ValType[] = [];
  private readonly free = new Map<ValType, number[]>(TYPES.map((t) => [t, []]));
  private temps: number[] = [];
  protected depth = 0;
  /** Where in the code conditions stand that are hardly ever true. */
  private rare: number[] = [];
  private isRare = false;

  constructor(params: readonly ValType[], results: readonly ValType[]) {
    this.params = params;
    this.results = results;
  }

  param(index: number): Val {
    return { type: this.params[index], local: index };
  }

  /** A local that lives until the end of the function. */
  variable(type: ValType): Val {
    this.locals.push(type);
    return { type, local: this.params.length + this.locals.length - 1 };
  }

  private temp(type: ValType): Val {
    const pool = this.free.get(type)!;
    const local = pool.pop() ?? this.variable(type).local;
    this.temps.push(local);
    return { type, local };
  }

  /** Gives all temporaries back; values made since the last release must not be used afterwards. */
  release(): void {
    const first = this.params.length;
    for (const local of this.temps) this.free.get(this.locals[local - first])!.push(local);
    this.temps.length = 0;
  }

  push(v: Val): void {
    if (v.constant === undefined) {
      this.code.u8(0x20);
      this.code.u32(v.local);
    } else if (v.type === I32) {
      this.code.u8(0x41);
      this.code.s32(v.constant);
    } else {
      this.code.u8(0x42);
      this.code.s64(v.constant);
    }
  }

  private bind(type: ValType): Val {
    const v = this.temp(type);
    this.code.u8(0x21);
    this.code.u32(v.local);
    return v;
  }

  private encode(code: number): void {
    if (code <= 0xff) this.code.u8(code);
    else {
      this.code.u8(code >> 8);
      this.code.u32(code & 0xff);
    }
  }

  op(name: Op, a: Val, b?: Val, c?: Val): Val {
    const known = c === undefined ? this.simplify(name, a, b) : undefined;
    if (known !== undefined) return known;
    const [code, , result] = OPS[name];
    this.push(a);
    if (b !== undefined) this.push(b);
    if (c !== undefined) this.push(c);
    this.encode(code);
    return this.bind(result);
  }

  /** The result when the operands tell it. A copy, never the operand: what a variable holds may change. */
  private simplify(name: Op, a: Val, b: Val | undefined): Val | undefined {
    if (a.constant !== undefined && (b === undefined || b.constant !== undefined)) {
      const value = fold(name, a.constant, b?.constant);
      return value === undefined ? undefined : typeof value === 'bigint' ? c64(value) : c32(value);
    }
    if (b?.constant !== undefined) {
      if (isNeutral(name, b.constant)) return this.copy(a);
      if (isAbsorbing(name, b.constant)) return b;
    } else if (a.constant !== undefined && b !== undefined && COMMUTES.has(name)) {
      if (isNeutral(name, a.constant)) return this.copy(b);
      if (isAbsorbing(name, a.constant)) return a;
    }
    return undefined;
  }

  load(name: LoadOp, pointer: Val, offset = 0): Val {
    const [code, , type] = LOADS[name];
    this.push(pointer);
    this.encode(code);
    this.code.u32(0);
    this.code.u32(offset);
    return this.bind(type);
  }

  store(name: StoreOp, pointer: Val, value: Val, offset = 0): void {
    this.push(pointer);
    this.push(value);
    this.encode(STORES[name][0]);
    this.code.u32(0);
    this.code.u32(offset);
  }

  lane(name: LaneOp, index: number, a: Val, b?: Val): Val {
    const [sub, , type] = LANES[name];
    this.push(a);
    if (b !== undefined) this.push(b);
    this.code.u8(0xfd);
    this.code.u32(sub);
    this.code.u8(index);
    return this.bind(type);
  }

  /** i8x16.shuffle with sixteen lane numbers 0..31. */
  shuffle(a: Val, b: Val, lanes: readonly number[]): Val {
    this.push(a);
    this.push(b);
    this.code.u8(0xfd);
    this.code.u32(13);
    this.code.raw(lanes);
    return this.bind(V128);
  }

  /** A 128-bit constant from two 64-bit halves, low first. */
  v128(low: bigint, high: bigint): Val {
    this.code.u8(0xfd);
    this.code.u32(12);
    for (const half of [low, high]) for (let i = 0n; i < 64n; i += 8n) this.code.u8(Number((half >> i) & 0xffn));
    return this.bind(V128);
  }

  /** A 32-bit global variable of the module. */
  global(index: number): Val {
    this.code.u8(0x23);
    this.code.u32(index);
    return this.bind(I32);
  }

  setGlobal(index: number, value: Val): void {
    this.push(value);
    this.code.u8(0x24);
    this.code.u32(index);
  }

  select(condition: Val, yes: Val, no: Val): Val {
    if (condition.constant !== undefined) return this.copy(condition.constant !== 0 ? yes : no);
    this.push(yes);
    this.push(no);
    this.push(condition);
    if (yes.type === V128) {
      this.code.u8(0x1c);
      this.code.u32(1);
      this.code.u8(V128);
    } else this.code.u8(0x1b);
    return this.bind(yes.type);
  }

  /** Copies bytes between places of memory that may overlap. */
  memoryCopy(to: Val, from: Val, bytes: Val): void {
    for (const v of [to, from, bytes]) this.push(v);
    this.code.raw([0xfc, 0x0a, 0x00, 0x00]);
  }

  memoryFill(to: Val, byte: Val, bytes: Val): void {
    for (const v of [to, byte, bytes]) this.push(v);
    this.code.raw([0xfc, 0x0b, 0x00]);
  }

  copy(v: Val): Val {
    if (v.constant !== undefined) return v;
    this.push(v);
    return this.bind(v.type);
  }

  assign(variable: Val, value: Val): void {
    this.push(value);
    this.code.u8(0x21);
    this.code.u32(variable.local);
  }

  call(index: number, args: readonly Val[], result?: ValType): Val {
    for (const a of args) this.push(a);
    this.code.u8(0x10);
    this.code.u32(index);
    return result === undefined ? c32(0) : this.bind(result);
  }

  callIndirect(typeIndex: number, slot: Val, args: readonly Val[], result: ValType): Val {
    for (const a of args) this.push(a);
    this.push(slot);
    this.code.u8(0x11);
    this.code.u32(typeIndex);
    this.code.u32(0);
    return this.bind(result);
  }

  private enter(opcode: number): Label {
    this.code.u8(opcode);
    this.code.u8(0x40);
    return ++this.depth;
  }

  private leave(): void {
    this.code.u8(0x0b);
    this.depth--;
  }

  /** The same for a condition that is hardly ever true: its code is put aside, and what it needs costs the rest nothing. */
  ifRarely(condition: Val, then: () => void, otherwise?: () => void): void {
    this.isRare = condition.constant === undefined;
    this.if(condition, then, otherwise);
  }

  if(condition: Val, then: () => void, otherwise?: () => void): void {
    if (condition.constant !== undefined) {
      if (condition.constant !== 0) then();
      else otherwise?.();
      return;
    }
    this.push(condition);
    if (this.isRare) this.rare.push(this.code.length);
    this.isRare = false;
    this.enter(0x04);
    then();
    if (otherwise) {
      this.code.u8(0x05);
      otherwise();
    }
    this.leave();
  }

  /** Value of one of two computations, of which only the chosen one runs. */
  either(condition: Val, then: () => Val, otherwise: () => Val, type: ValType): Val {
    const out = this.temp(type);
    this.if(
      condition,
      () => this.assign(out, then()),
      () => this.assign(out, otherwise()),
    );
    return out;
  }

  /** The same for a condition that is hardly ever true. */
  eitherRarely(condition: Val, then: () => Val, otherwise: () => Val, type: ValType): Val {
    this.isRare = condition.constant === undefined;
    return this.either(condition, then, otherwise, type);
  }

  block(inner: (label: Label) => void): void {
    const label = this.enter(0x02);
    inner(label);
    this.leave();
  }

  loop(inner: (label: Label) => void): void {
    const label = this.enter(0x03);
    inner(label);
    this.leave();
  }

  br(label: Label): void {
    this.code.u8(0x0c);
    this.code.u32(this.depth - label);
  }

  brIf(condition: Val, label: Label): void {
    if (condition.constant !== undefined) {
      if (condition.constant !== 0) this.br(label);
      return;
    }
    this.push(condition);
    this.code.u8(0x0d);
    this.code.u32(this.depth - label);
  }

  brTable(index: Val, labels: readonly Label[], otherwise: Label): void {
    this.push(index);
    this.code.u8(0x0e);
    this.code.u32(labels.length);
    for (const label of labels) this.code.u32(this.depth - label);
    this.code.u32(this.depth - otherwise);
  }

  return(value?: Val): void {
    if (value !== undefined) this.push(value);
    this.code.u8(0x0f);
  }

  unreachable(): void {
    this.code.u8(0x00);
  }

  /** Puts what `write` emits before everything that was written. */
  prepend(write: () => void): void {
    const body = this.code;
    const { rare } = this;
    this.code = new Bytes();
    this.rare = [];
    write();
    for (const at of rare) this.rare.push(at + this.code.length);
    this.code.append(body);
  }

  /** Bytes of the function for the code section, and where in them rare conditions stand. */
  encodeBody(): { readonly bytes: Bytes; readonly rare: readonly number[] } {
    const out = new Bytes();
    const groups: [number, ValType][] = [];
    for (const type of this.locals) {
      const last = groups.at(-1);
      if (last && last[1] === type) last[0]++;
      else groups.push([1, type]);
    }
    out.u32(groups.length);
    for (const [count, type] of groups) {
      out.u32(count);
      out.u8(type);
    }
    const rare = this.rare.map((at) => at + out.length);
    out.append(this.code);
    out.u8(0x0b);
    return { bytes: out, rare };
  }
}
