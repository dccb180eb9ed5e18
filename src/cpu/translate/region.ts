/**
 * Writes the WebAssembly of one region: a function (cpu) -> status.
 *
 * The code assumes: the bytes it was made from (stores to them drop the region), the mode key it was made under, and what is checked on
 * entry. Budget is charged per block; that it is enough is checked where a loop begins or control arrives from the dispatcher, for the
 * longest way from there to the next such place. What does not fit is left to the interpreter, so a slice ends at exactly the
 * instruction asked for.
 */

import type { Decoded } from '../decode/decoder.ts';
import { HELPERS } from '../helpers.ts';
import type { Imports } from '../interpret/handler.ts';
import * as status from '../interpret/status.ts';
import { anyVariant } from '../isa/plan.ts';
import * as S from '../state.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { c32, c64, I32, I64, type Label, type Val } from '../wasm/value.ts';
import { type Knowledge, RegionBody } from './body.ts';
import { type Block, jumpsAnywhere, type RegionCode } from './discover.ts';
import { type FlagsAt, storedFlags } from './flags.ts';
import { findHash, type Hash, slotOf } from './hash.ts';
import { flagsDie } from './liveness.ts';
import { TranslatorSemantics } from './semantics.ts';
import { type Structure, structure } from './structure.ts';

export interface RegionModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Offsets in the page where the region can be entered. */
  readonly entries: readonly number[];
}

export const buildRegion = (code: RegionCode, mode: number): RegionModule => {
  const m = new ModuleBuilder();
  const imports: Imports = {
    slow: m.import('env', 'slow', [I32, I32], [I32]),
    commit: m.import('env', 'commit', [I32], [I32]),
    segment: m.import('env', 'segment', [I32, I32, I32, I32], [I32]),
    flags: m.import('env', 'flags', [I32, I32, I64, I64], []),
    refill: m.import('env', 'refill', [I32, I64, I32], [I32]),
    helpers: HELPERS.map((_, i) => m.import('helpers', String(i), [I32, I32, I32], [I32])),
  };
  const body = new RegionBody([I32], [I32], storedFlags);
  m.export('region', m.add(body));
  const entries = new RegionWriter(body, imports, code, mode).write();
  return { bytes: m.finish(), entries };
};

/** The dispatcher's node; the block at position i is node i + 1. */
const DISPATCHER = 0;

class RegionWriter {
  private readonly f: RegionBody;
  private readonly s: TranslatorSemantics;
  private readonly blocks: readonly Block[];
  private readonly numbers: ReadonlyMap<number, number>;
  private readonly shape: Structure;
  private readonly mode: number;
  /** Returns, and other jumps whose target is found at run time, go to the dispatcher. */
  private readonly returns: boolean;
  private readonly indirectJumps: boolean;
  /** Instructions from a node to the next check, itself included. */
  private readonly needs: number[] = [];
  /** Labels of loops, and of the places behind the blocks where ways meet. */
  private readonly loops: Label[] = [];
  private readonly behind: Label[] = [];
  /** Offset in the page that the dispatcher goes to; {@link ARRIVED} once control is there. */
  private readonly where: Val;
  private current = DISPATCHER;
  /** What is known of the flags on every way to a place where ways meet, as far as these are written. */
  private readonly arriving: (Knowledge | undefined)[] = [];

  constructor(f: RegionBody, imports: Imports, code: RegionCode, mode: number) {
    this.f = f;
    this.mode = mode;
    this.blocks = code.blocks;
    this.numbers = new Map(code.blocks.map((b, i) => [b.offset, i + 1]));
    this.returns = code.entries.length > 1;
    this.indirectJumps = code.indirect && this.returns;
    this.shape = structure({ edges: this.edges(code) });
    this.where = f.variable(I32);
    const flow = {
      goto: (offset: number) => this.goto(offset),
      indirect: (distance: Val) => this.indirect(distance),
    };
    this.s = new TranslatorSemantics(f, imports, anyVariant(), mode, flow);
  }

  private edges(code: RegionCode): number[][] {
    const entries = code.entries.map((e) => this.numbers.get(e)!);
    return [
      entries,
      ...code.blocks.map((block) => {
        const to: number[] = [];
        const target = block.target === undefined ? undefined : this.numbers.get(block.target);
        if (target !== undefined) to.push(target);
        const next = block.after === 'next' ? this.numbers.get(block.end) : undefined;
        if (next !== undefined) to.push(next);
        if (this.isDispatched(block)) to.push(DISPATCHER);
        return to;
      }),
    ];
  }

  /** The block ends with a jump to a target that is found at run time and may be an entry. */
  private isDispatched({ instructions }: Block): boolean {
    const last = instructions.at(-1)!;
    return last.row.name === 'RET' ? this.returns : this.indirectJumps && jumpsAnywhere(last);
  }

  /** Tells which accesses are in which loop. */
  private declareLoops(): void {
    const { around, outermost } = this.shape;
    const byHead = new Map<number, Decoded[]>();
    this.blocks.forEach(({ instructions }, i) => {
      const head = around[i + 1];
      if (head === DISPATCHER) return;
      const found = byHead.get(head);
      if (found === undefined) byHead.set(head, [...instructions]);
      else found.push(...instructions);
    });
    for (const [head, instructions] of byHead) this.s.pages.declare(head, outermost[head], instructions);
  }

  /** Writes the function; the offsets where it can be entered. */
  write(): readonly number[] {
    const { f, s } = this;
    this.declareLoops();
    s.frame(() => {
      this.tree(DISPATCHER);
      f.unreachable();
    });
    f.prepend(() => {
      const { cpu } = s;
      let refuse = this.unavailable();
      if ((this.mode & S.MODE_SIZE) !== S.MODE_64) {
        const limit = f.load('i32.load', cpu, S.seg(S.CS) + S.SEG_LIMIT);
        refuse = f.op('i32.or', refuse, f.op('i32.ne', limit, c32(-1)));
      }
      s.enter(refuse);
      const rip = f.load('i64.load', cpu, S.RIP);
      const linear = f.op('i64.add', rip, s.state64(S.CS_BASE));
      const offset = f.op('i64.and', linear, c64(0xfff));
      f.assign(this.where, f.op('i32.wrap_i64', offset));
      f.assign(s.pageIp, f.op('i64.sub', rip, offset));
    });
    return this.targets(this.shape.entries).map(({ offset }) => offset);
  }

  /** Nonzero when a unit that the region uses cannot be used now: each instruction's own check is left to the interpreter. */
  private unavailable(): Val {
    const { f, s } = this;
    const units = new Set(this.blocks.flatMap((b) => b.instructions.map((d) => d.row.unit)));
    let refuse: Val = c32(0);
    if (units.has('sse')) refuse = f.op('i32.or', refuse, s.state32(S.SSE_BLOCKED));
    if (units.has('x87') || units.has('mmx'))
      refuse = f.op('i32.or', refuse, f.op('i32.and', s.state32(S.CR0), c32(CR0_EM_TS)));
    return refuse;
  }

  // ---- control flow ----

  /** Writes a node and what it dominates. */
  private tree(node: number): void {
    const { f } = this;
    if (!this.shape.isLoop[node]) {
      this.within(node, 0);
      return;
    }
    f.structure('loop', (label) => {
      this.loops[node] = label;
      this.within(node, 0);
    });
  }

  /** The node's code inside one block for each place where ways from it meet. */
  private within(node: number, from: number): void {
    const { f } = this;
    const merges = this.shape.merges[node];
    if (from === merges.length) {
      this.node(node);
      return;
    }
    const meeting = merges[from];
    f.structure('block', (label) => {
      this.behind[meeting] = label;
      this.within(node, from + 1);
    });
    this.tree(meeting);
  }

  /** Where the flags are at the beginning of a node. */
  private flagsAt(node: number): FlagsAt {
    const { inner, around } = this.shape;
    if (node === DISPATCHER) return 'state';
    // On the way to a loop inside this one flags pass through.
    if (inner[node].length === 0 && flagsDie(this.blocks[node - 1].instructions, 0)) return 'nowhere';
    // Where all ways are forward ones, they often agree on what the flags are.
    return around[node] !== DISPATCHER || !this.isChecked(node) ? 'locals' : 'state';
  }

  private node(node: number): void {
    const { f, s } = this;
    const { isLoop, isMerge } = this.shape;
    f.reachable = true;
    if (node === DISPATCHER || isLoop[node]) s.flags.begin(this.flagsAt(node));
    else if (isMerge[node]) s.flags.begin(this.flagsAt(node), this.arriving[node]);
    this.current = node;
    if (node === DISPATCHER) this.dispatch();
    else this.block(this.blocks[node - 1], node);
  }

  /** Goes from the current node to another one; `through`: to go on to a loop inside it. */
  private edge(to: number, through = false): void {
    const { f, s, shape } = this;
    const from = this.current;
    if (shape.dispatched(from, to)) {
      s.flags.put();
      f.assign(this.where, c32(this.blocks[to - 1].offset));
      f.br(this.loops[DISPATCHER]);
      return;
    }
    // The flags are best known here, so the budget is looked at on the way to where it must suffice.
    if (this.isChecked(to) && !through) {
      const { offset } = this.blocks[to - 1];
      f.ifRarely(f.op('i32.lt_u', s.budget, c32(this.need(to))), () => s.exit(c64(offset), status.INTERPRET));
    }
    if (shape.outermost[to] === to && shape.outermost[from] !== to) s.pages.enterNest(to);
    if (shape.isLoop[to] || shape.isMerge[to]) {
      s.flags.pass(this.flagsAt(to));
      this.arriving[to] = this.arriving[to]?.merge(f.known) ?? f.known;
    }
    if (shape.order[to] <= shape.order[from]) f.br(this.loops[to]);
    else if (shape.isMerge[to]) f.br(this.behind[to]);
    else {
      s.nested(() => this.tree(to));
      this.current = from;
      f.reachable = false;
    }
  }

  private goto(offset: number): boolean {
    const to = this.numbers.get(offset);
    if (to === undefined) return false;
    this.edge(to);
    return true;
  }

  private indirect(distance: Val): boolean {
    const { f, s } = this;
    if (!this.isDispatched(this.blocks[this.current - 1])) return false;
    f.ifRarely(f.op('i64.ge_u', distance, c64(4096)), () => s.exit(distance, status.JUMPED));
    s.flags.put();
    f.assign(this.where, f.op('i32.wrap_i64', distance));
    f.br(this.loops[DISPATCHER]);
    return true;
  }

  /** Where the dispatcher can go through these nodes: to themselves, and to the loops inside those that are loops. */
  private targets(nodes: readonly number[]): { readonly offset: number; readonly to: number }[] {
    const { inner } = this.shape;
    const offsets = (node: number): number[] => [this.blocks[node - 1].offset, ...inner[node].flatMap(offsets)];
    return nodes.flatMap((to) => offsets(to).map((offset) => ({ offset, to }))).sort((x, y) => x.offset - y.offset);
  }

  private dispatch(): void {
    const { f, s, shape } = this;
    const targets = this.targets(shape.entries);
    if (targets.length === 1 && !shape.isLoop[DISPATCHER]) {
      f.assign(this.where, c32(ARRIVED));
      this.edge(targets[0].to);
      return;
    }
    const hash = targets.length < TABLE_FROM ? undefined : findHash(targets.map(({ offset }) => offset));
    if (hash === undefined) this.among(targets);
    else this.byTable(targets, hash);
    s.exit(f.op('i64.extend_i32_u', this.where), status.JUMPED);
  }

  /** Goes to the target that is wanted: one jump through a table, by bits of its product with a number that sets the targets apart. */
  private byTable(targets: readonly { readonly offset: number; readonly to: number }[], { factor, bits }: Hash): void {
    const { f } = this;
    const places: (number | undefined)[] = new Array(1 << bits).fill(undefined);
    targets.forEach(({ offset }, i) => {
      places[slotOf(offset, factor, bits)] = i;
    });
    const product = f.op('i32.mul', this.where, c32(factor));
    const slot = f.op('i32.shr_u', product, c32(32 - bits));
    f.structure('block', (none) => {
      const labels: Label[] = [];
      const open = (i: number): void => {
        if (i < 0) {
          f.brTable(
            slot,
            places.map((target) => (target === undefined ? none : labels[target])),
            none,
          );
          return;
        }
        f.structure('block', (label) => {
          labels[i] = label;
          open(i - 1);
        });
        f.reachable = true;
        this.among([targets[i]]);
        f.br(none);
      };
      open(targets.length - 1);
    });
    f.reachable = true;
  }

  /** Goes to the target that is wanted: compares it with those there are, halving them. */
  private among(targets: readonly { readonly offset: number; readonly to: number }[]): void {
    const { f } = this;
    if (targets.length === 1) {
      const [{ offset, to }] = targets;
      f.if(f.op('i32.eq', this.where, c32(offset)), () => {
        const arrived = offset === this.blocks[to - 1].offset;
        if (arrived) f.assign(this.where, c32(ARRIVED));
        this.edge(to, !arrived);
      });
      return;
    }
    const half = targets.length >> 1;
    f.if(
      f.op('i32.lt_u', this.where, c32(targets[half].offset)),
      () => this.among(targets.slice(0, half)),
      () => this.among(targets.slice(half)),
    );
  }

  /** At the head of a loop: goes on to the loop inside it that is wanted. */
  private passThrough(node: number): void {
    const { f } = this;
    const inner = this.shape.inner[node];
    if (inner.length === 0) return;
    f.ifRarely(f.op('i32.ne', this.where, c32(ARRIVED)), () => {
      this.among(this.targets(inner));
      f.unreachable();
    });
  }

  // ---- blocks ----

  /** Is the budget checked before the node? */
  private isChecked(node: number): boolean {
    return this.shape.isLoop[node] || this.shape.entries.includes(node);
  }

  private need(node: number): number {
    const known = this.needs[node];
    if (known !== undefined) return known;
    const block = this.blocks[node - 1];
    let most = 0;
    for (const offset of [block.target, block.after === 'next' ? block.end : undefined]) {
      const to = offset === undefined ? undefined : this.numbers.get(offset);
      if (to !== undefined && !this.isChecked(to)) most = Math.max(most, this.need(to));
    }
    this.needs[node] = most + block.instructions.length;
    return this.needs[node];
  }

  private block(block: Block, node: number): void {
    const { f, s } = this;
    const count = block.instructions.length;
    this.passThrough(node);
    f.assign(s.budget, f.op('i32.sub', s.budget, c32(count)));
    f.release();
    let at = block.offset;
    s.pages.within(this.shape.around[node]);
    block.instructions.forEach((d, i) => {
      s.begin(d, at, count - 1 - i, flagsDie(block.instructions, i + 1));
      d.row.mean!(s, ...d.parsed.operands.map((o) => s.operand(o)));
      at += d.length;
      if (i < count - 1 || block.after !== 'none') s.end();
      f.release();
    });
    if (block.after === 'none') return;
    if (block.after === 'interpret') s.exit(c64(block.end), status.INTERPRET);
    else if (!this.goto(block.end)) s.exit(c64(block.end), status.JUMPED);
  }
}

/** Fewer targets than that are told apart by comparisons. */
const TABLE_FROM = 5;

const CR0_EM_TS = 12;
/** No offset in the page. */
const ARRIVED = -1;
