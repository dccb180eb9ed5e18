/**
 * Pages that a region remembers: what was found in the TLB for the stack, and for pointers in loops. The next access by the same registers
 * mostly goes to the same page, and comparing with that costs half of a look-up. Nothing drops a translation while a region runs, and none takes
 * the place of another in the TLB, so what was found stays right until the region is left or calls TypeScript.
 */
import type { Decoded } from '../decode/decoder.ts';
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import { c32, c64, I32, I64, type Val } from '../wasm/value.ts';

const PAGE = 4096;
/** Most bytes of an access that a page is asked about. */
export const LARGEST = 16;
/** So many pages are remembered for pointers in a nest of loops, and so many in one loop: each takes registers, of which 64-bit code has its own use. */
const MOST = { narrow: { nest: 6, loop: 4 }, wide: { nest: 2, loop: 2 } } as const;

/** A page that can be read and written: linear address, host address, and how far behind its begin accesses may begin. */
export interface RememberedPage {
  readonly linear: Val;
  readonly host: Val;
  /** 64-bit code only; elsewhere `linear` is beyond all addresses while nothing is remembered. */
  readonly span: Val | undefined;
}

/** Which registers an access goes by; the stack has a page of its own. Far displacements are other places. */
const keyOf = ({ memory, row }: Decoded): string | undefined => {
  if (memory === undefined || row.name === 'LEA' || row.name === 'NOP') return undefined;
  if (memory.base === S.RSP && memory.index < 0) return 'stack';
  if (memory.base < 0 && memory.index < 0) return undefined;
  const far = (memory.displacement + 2048n) >> 12n;
  return `${memory.segment},${memory.base},${memory.index},${far}`;
};

/** A loop that is in no other loop, with those in it. */
interface Nest {
  readonly pages: Map<string, RememberedPage>;
}

export class RememberedPages {
  private readonly f: FunctionBody;
  private readonly code64: boolean;
  private readonly stack: RememberedPage;
  /** Pages for pointers; each nest of loops uses them anew, so that nothing is carried between nests. */
  private readonly pointers: RememberedPage[] = [];
  private readonly nests = new Map<number, Nest>();
  /** By head of a loop: the pages of accesses in it. */
  private readonly loops = new Map<number, ReadonlyMap<string, RememberedPage>>();
  private loop = 0;

  constructor(f: FunctionBody, code64: boolean) {
    this.f = f;
    this.code64 = code64;
    this.stack = this.make();
  }

  private make(): RememberedPage {
    const { f, code64 } = this;
    return { linear: f.variable(I64), host: f.variable(I32), span: code64 ? f.variable(I64) : undefined };
  }

  /** Tells which instructions belong to a loop, without those of the loops inside it, and the head of the outermost loop around it. */
  declare(head: number, outermost: number, instructions: readonly Decoded[]): void {
    const keys = new Set(instructions.map(keyOf));
    keys.delete(undefined);
    keys.delete('stack');
    const most = this.code64 ? MOST.wide : MOST.narrow;
    if (keys.size === 0 || keys.size > most.loop) return;
    let nest = this.nests.get(outermost);
    if (nest === undefined) {
      nest = { pages: new Map() };
      this.nests.set(outermost, nest);
    }
    const { pages } = nest;
    const own = new Map<string, RememberedPage>();
    for (const key of keys as Set<string>) {
      if (!pages.has(key)) {
        if (pages.size === most.nest) continue;
        if (this.pointers.length === pages.size) this.pointers.push(this.make());
        pages.set(key, this.pointers[pages.size]);
      }
      own.set(key, pages.get(key)!);
    }
    this.loops.set(head, own);
  }

  /** The code written next belongs to a loop; 0 is none. */
  within(head: number): void {
    this.loop = head;
  }

  /** The page to ask about an access of an instruction; `stack`: by PUSH, CALL and so on. */
  of(d: Decoded, bytes: number, stack: boolean): RememberedPage | undefined {
    if (bytes > LARGEST) return undefined;
    const key = stack ? 'stack' : keyOf(d);
    if (key === undefined) return undefined;
    return key === 'stack' ? this.stack : this.loops.get(this.loop)?.get(key);
  }

  /** At the entry: nothing is remembered. */
  enter(): void {
    this.forget(this.stack);
  }

  /** TypeScript was called: nothing is remembered any more. */
  forgetAll(): void {
    this.forget(this.stack);
    for (const page of this.pointers) this.forget(page);
  }

  /** On the way into an outermost loop, the same. */
  enterNest(outermost: number): void {
    for (const page of this.nests.get(outermost)?.pages.values() ?? []) this.forget(page);
  }

  private forget({ linear, host, span }: RememberedPage): void {
    const { f } = this;
    // Outside 64-bit code no address is as large; in 64-bit code a span of 0 has no room for any access.
    f.assign(linear, c64(1n << 40n));
    f.assign(host, c32(0));
    if (span !== undefined) f.assign(span, c64(0n));
  }

  /** Condition: an access at a distance from the page's begin is not inside it. */
  isFar({ span }: RememberedPage, distance: Val, bytes: number): Val {
    const { f } = this;
    return span === undefined ? f.op('i64.gt_u', distance, c64(PAGE - bytes)) : f.op('i64.ge_u', distance, span);
  }

  /** A page was found. */
  remember(page: RememberedPage, linear: Val, host: Val): void {
    const { f } = this;
    f.assign(page.linear, linear);
    f.assign(page.host, host);
    if (page.span !== undefined) f.assign(page.span, c64(PAGE - LARGEST + 1));
  }
}
