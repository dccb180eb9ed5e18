/**
 * Hypercalls as data. An entry names its sub-operation, argument structure, which guests may call it and since which release,
 * and its handler; dispatch, argument copying, tracing, counters and the compatibility page all derive from the entries.
 *
 * A handler gets the decoded argument and returns a value or a negative errno, or one of the outcomes {@link block},
 * {@link again}, {@link crash}. It does not throw.
 */
import { EFAULT, ENOSYS } from '../abi/xen/errno.ts';
import type { Layout, Type } from '../abi/xen/struct.ts';
import { encode } from '../abi/xen/struct.ts';
import type { Domain } from './domain.ts';
import { accessOkay } from './pv/address-space.ts';
import type { RuleName, Version } from './rules.ts';
import { firstRelease } from './rules.ts';
import type { Vcpu } from './vcpu.ts';

/** `kind: 'block'`: the vCPU waits; when it runs again it sees `result`. */
export interface Block {
  readonly kind: 'block';
  readonly result: number;
}
/** Continue later: the instruction executes again, with arguments replaced where given. */
export interface Again {
  readonly kind: 'again';
  readonly args: readonly (bigint | undefined)[];
}
/** The guest broke an interface beyond repair. */
export interface Crash {
  readonly kind: 'crash';
  readonly reason: string;
}
export type Result = number | bigint | Block | Again | Crash;

export const block = (result = 0): Block => ({ kind: 'block', result });
export const again = (...args: (bigint | undefined)[]): Again => ({ kind: 'again', args });
export const crash = (reason: string): Crash => ({ kind: 'crash', reason });

/** Small structures pass through here; nothing stays in it. */
const scratch = new Uint8Array(8);
const scratchView = new DataView(scratch.buffer);

/** One call in progress. Guest addresses are linear addresses of the caller; a failed copy is EFAULT and injects nothing. */
export class HypercallContext {
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  /** Layout of the caller's structures. */
  readonly width: Layout;
  readonly number: number;
  /** Arguments in order; upper halves are already cut for 32-bit callers. */
  readonly args: readonly bigint[];
  /** Inside a multicall. */
  readonly nested: boolean;

  constructor(vcpu: Vcpu, width: Layout, number: number, args: readonly bigint[], nested = false) {
    this.vcpu = vcpu;
    this.domain = vcpu.domain;
    this.width = width;
    this.number = number;
    this.args = args;
    this.nested = nested;
  }

  /** Copies bytes from the guest; undefined means EFAULT. */
  readBytes(address: bigint, length: number): Uint8Array<ArrayBuffer> | undefined {
    if (this.wraps(address, length)) return undefined;
    const into = new Uint8Array(length);
    return length === 0 || this.vcpu.cpu.tryReadLinear(address, into) ? into : undefined;
  }

  /** Copies bytes to the guest; false means EFAULT. */
  writeBytes(address: bigint, from: Uint8Array): boolean {
    if (this.wraps(address, from.length)) return false;
    return from.length === 0 || this.vcpu.cpu.tryWriteLinear(address, from);
  }

  /** Copies a structure in the caller's layout from the guest; undefined means EFAULT. */
  copyFromGuest<T>(type: Type<T>, address: bigint): T | undefined {
    const size = type.size(this.width);
    if (this.wraps(address, size)) return undefined;
    if (size <= 8) {
      if (!this.vcpu.cpu.tryReadLinear(address, scratch.subarray(0, size))) return undefined;
      return type.read(scratchView, 0, this.width);
    }
    const raw = new Uint8Array(size);
    if (!this.vcpu.cpu.tryReadLinear(address, raw)) return undefined;
    return type.read(new DataView(raw.buffer), 0, this.width);
  }

  /** Copies a structure to the guest; false means EFAULT. */
  copyToGuest<T>(type: Type<T>, address: bigint, value: T): boolean {
    return this.writeBytes(address, encode(type, value, this.width));
  }

  /** Address of element `index` of a guest array. */
  element(type: Type<unknown>, address: bigint, index: number | bigint): bigint {
    return this.cut(address + BigInt(type.size(this.width)) * BigInt(index));
  }

  /** Cuts an address to the caller's width. */
  cut(address: bigint): bigint {
    return BigInt.asUintN(this.width === 'native' ? 64 : 32, address);
  }

  /** Beyond the end of the caller's addresses, or in the hypervisor's part of a PV guest's address space. */
  private wraps(address: bigint, length: number): boolean {
    const { pv } = this.domain;
    if (pv !== undefined && !accessOkay(pv.width, address, length)) return true;
    return address + BigInt(length) > (this.width === 'native' ? 1n << 64n : 1n << 32n);
  }
}

export type Caller = 'pv64' | 'pv32' | 'hvm64' | 'hvm32';
export type Guests = 'all' | 'pv' | 'hvm' | readonly Caller[];

export interface EntryOptions<A> {
  readonly guests: Guests;
  /** Structure that the pointer argument names; it is copied in before the handler runs. */
  readonly arg?: Type<A>;
  /** Copies the structure back after a result >= 0 (EFAULT when that fails). */
  readonly out?: boolean;
  /** Rule that decides whether it exists; without it the answer is that to an unknown operation. */
  readonly rule?: RuleName;
}

export type Handler<A> = (context: HypercallContext, arg: A, address: bigint) => Result;

export interface Entry {
  readonly level: 'full' | 'partial' | 'absent';
  readonly note: string;
  readonly guests: Guests;
  readonly arg: Type<unknown> | undefined;
  readonly out: boolean;
  readonly rule: RuleName | undefined;
  /** First release that has it. */
  readonly since: Version | undefined;
  readonly handler: Handler<unknown>;
}

function entry<A>(level: Entry['level'], note: string, options: EntryOptions<A>, handler: Handler<A>): Entry {
  return {
    level,
    note,
    guests: options.guests,
    arg: options.arg,
    out: options.out ?? false,
    rule: options.rule,
    since: options.rule && firstRelease(options.rule),
    handler: handler as Handler<unknown>,
  };
}

/** Behaves as on Xen. */
export const full = <A = undefined>(options: EntryOptions<A>, handler: Handler<A>): Entry =>
  entry('full', '', options, handler);
/** Behaves as on Xen but for what the note says. */
export const partial = <A = undefined>(note: string, options: EntryOptions<A>, handler: Handler<A>): Entry =>
  entry('partial', note, options, handler);
/** Not modelled: answers an errno (ENOSYS unless told) and is counted. */
export const absent = (reason: string, errno: number = ENOSYS, guests: Guests = 'all'): Entry =>
  entry('absent', reason, { guests }, () => -errno);

export interface HypercallOptions {
  /** Index of the argument that points to the structure; 1 unless told (0 for hypercalls without sub-operations). */
  readonly pointer?: number;
  /** Sub-operation from the arguments; the low 32 bits of argument 0 unless told. */
  readonly command?: (args: readonly bigint[]) => number;
  /** Answer to an unknown sub-operation; ENOSYS unless told. */
  readonly unknown?: number;
  /** Checked before the sub-operation is looked at; a result ends the call. */
  readonly before?: (context: HypercallContext) => Result | undefined;
}

export interface Hypercall {
  readonly number: number;
  readonly ref: string;
  /** By sub-operation; a hypercall without any has the one entry `undefined`. */
  readonly entries: ReadonlyMap<number | undefined, Entry>;
  readonly pointer: number;
  readonly command: (args: readonly bigint[]) => number;
  readonly unknown: number;
  readonly before: ((context: HypercallContext) => Result | undefined) | undefined;
}

const isEntry = (entries: Entry | Readonly<Record<number, Entry>>): entries is Entry => 'handler' in entries;

/** Declares a hypercall: one entry, or entries by sub-operation number. */
export function hypercall(
  number: number,
  ref: string,
  entries: Entry | Readonly<Record<number, Entry>>,
  options: HypercallOptions = {},
): Hypercall {
  const map = new Map<number | undefined, Entry>(
    isEntry(entries) ? [[undefined, entries]] : Object.entries(entries).map(([sub, e]) => [Number(sub), e]),
  );
  return {
    number,
    ref,
    entries: map,
    pointer: options.pointer ?? (isEntry(entries) ? 0 : 1),
    command: options.command ?? ((args) => Number(BigInt.asUintN(32, args[0]))),
    unknown: options.unknown ?? ENOSYS,
    before: options.before,
  };
}

/** Counts what guests asked and the project (or this release of Xen) does not have. */
export class Audit {
  /** Things counted under a name of their own: a guest that makes up ever new ones must not take the host's memory. */
  static readonly NAMES = 4096;
  readonly counts = new Map<string, number>();
  count(what: string): void {
    const before = this.counts.get(what);
    const name = before === undefined && this.counts.size >= Audit.NAMES ? 'others' : what;
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }
}

/** One finished hypercall, for tracing. */
export interface HypercallTrace {
  readonly context: HypercallContext;
  readonly hypercall: Hypercall | undefined;
  readonly entry: Entry | undefined;
  readonly arg: unknown;
  readonly result: Result;
}

export class HypercallTable {
  private readonly byNumber = new Map<number, Hypercall>();
  /** Probe: called after every hypercall when set. */
  onHypercall: ((trace: HypercallTrace) => void) | undefined;

  /** `later`: hypercalls that are declared when a number is asked for that is not among the others. */
  private later: (() => readonly Hypercall[]) | undefined;

  constructor(hypercalls: readonly Hypercall[], later?: () => readonly Hypercall[]) {
    this.register(hypercalls);
    this.later = later;
  }

  private register(hypercalls: readonly Hypercall[]): void {
    for (const call of hypercalls) {
      if (this.byNumber.has(call.number)) throw new RangeError(`hypercall ${call.number} is declared twice`);
      this.byNumber.set(call.number, call);
    }
  }

  private registerLater(): void {
    const { later } = this;
    this.later = undefined;
    if (later !== undefined) this.register(later());
  }

  get(number: number): Hypercall | undefined {
    if (this.later !== undefined && !this.byNumber.has(number)) this.registerLater();
    return this.byNumber.get(number);
  }

  all(): Hypercall[] {
    this.registerLater();
    return [...this.byNumber.values()].sort((a, b) => a.number - b.number);
  }

  /** Performs one call: ENOSYS for unknown numbers, then the hypercall's own checks, copy-in (EFAULT), the handler, copy-out (EFAULT). */
  dispatch(context: HypercallContext): Result {
    const call = this.get(context.number);
    const { audit } = context.domain;
    if (call === undefined) {
      audit.count(`hypercall ${context.number}`);
      return this.done(context, call, undefined, undefined, -ENOSYS);
    }
    const early = call.before?.(context);
    if (early !== undefined) return this.done(context, call, undefined, undefined, early);
    const single = call.entries.get(undefined);
    const sub = single === undefined ? call.command(context.args) : undefined;
    const found = single ?? call.entries.get(sub);
    if (found === undefined || !available(found, context)) {
      audit.count(`hypercall ${context.number}${sub === undefined ? '' : `.${sub}`}`);
      return this.done(
        context,
        call,
        undefined,
        undefined,
        found !== undefined && single !== undefined ? -ENOSYS : -call.unknown,
      );
    }
    if (found.level === 'absent') audit.count(`hypercall ${context.number}${sub === undefined ? '' : `.${sub}`}`);
    const address = context.args[call.pointer] ?? 0n;
    let arg: unknown;
    if (found.arg !== undefined) {
      arg = context.copyFromGuest(found.arg, address);
      if (arg === undefined) return this.done(context, call, found, undefined, -EFAULT);
    }
    let result = found.handler(context, arg, address);
    if (found.out && found.arg !== undefined && typeof result !== 'object' && result >= 0) {
      if (!context.copyToGuest(found.arg, address, arg)) result = -EFAULT;
    }
    return this.done(context, call, found, arg, result);
  }

  private done(
    context: HypercallContext,
    hypercall: Hypercall | undefined,
    entry: Entry | undefined,
    arg: unknown,
    result: Result,
  ): Result {
    this.onHypercall?.({ context, hypercall, entry, arg, result });
    return result;
  }
}

/** Which kind of caller this is. */
export function callerOf(context: HypercallContext): Caller {
  if (context.domain.isHvm) return context.width === 'native' ? 'hvm64' : 'hvm32';
  return context.domain.config.type === 'pv32' ? 'pv32' : 'pv64';
}

function available(entry: Entry, context: HypercallContext): boolean {
  if (entry.rule !== undefined && !context.domain.rules.has(entry.rule)) return false;
  return allows(entry.guests, callerOf(context));
}

export function allows(guests: Guests, caller: Caller): boolean {
  if (guests === 'all') return true;
  if (guests === 'pv' || guests === 'hvm') return caller.startsWith(guests);
  return guests.includes(caller);
}
