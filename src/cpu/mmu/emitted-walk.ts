/**
 * The page walk as WebAssembly (key `sdm:3A "Paging"`): what compiled code calls when its inline TLB lookup misses.
 *
 * It serves the plain case only: every table and the page itself are RAM below the end of the frame table, nothing is reserved, nothing
 * faults. Everything else is left to walk.ts and access.ts, which start again from the beginning, so nothing may have changed by then
 * except accessed and dirty bits that the walk is allowed to set anyway.
 */
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { c32, c64, I32, I64, type Label, type Val } from '../wasm/value.ts';
import { SLOW_UPDATE, SLOW_WRITE } from './access.ts';
import { CR0_PG, CR0_WP, CR4_PAE, CR4_PGE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE } from './walk.ts';

const P = 1,
  RW = 2,
  US = 4,
  A = 0x20,
  D = 0x40,
  PS = 0x80;
const FRAME = 0xff_ffff_ffffn;

/** Bits of the last argument of the fill function. */
export const FILL_WRITE = 1,
  FILL_USER = 2,
  FILL_IMPLICIT = 4,
  FILL_EXECUTE = 8;

/** What has been found out about the translation so far; all locals. */
interface Walk {
  readonly f: FunctionBody;
  readonly cpu: Val;
  readonly low: Val;
  /** Frame number of the next table, then of the page. i64. */
  readonly frame: Val;
  /** Low half of the entry last read, and where it is. */
  readonly entry: Val;
  readonly at: Val;
  /** RW and US of all levels. */
  readonly rights: Val;
  /** Upper halves of the entries of all levels, for NX. */
  readonly upper: Val;
  readonly shift: Val;
}

const has = (f: FunctionBody, value: Val, bits: number): Val => f.op('i32.and', value, c32(bits));
const giveUp = (f: FunctionBody, condition: Val): void => f.if(condition, () => f.return(c32(0)));

/** Entry of the frame table for a frame number (i64); 0 beyond the table. Bit 31: only for reading. */
const frameEntry = (f: FunctionBody, cpu: Val, frame: Val): Val => {
  giveUp(f, f.op('i64.ge_u', frame, f.load('i64.load32_u', cpu, S.FRAME_COUNT)));
  const index = f.op('i32.shl', f.op('i32.wrap_i64', frame), c32(2));
  return f.load('i32.load', f.op('i32.add', f.load('i32.load', cpu, S.FRAME_TABLE), index));
};

/** Host address of a page named by a frame table entry; the bit for reading falls off. */
const hostOf = (f: FunctionBody, entry: Val): Val => {
  giveUp(f, f.op('i32.eqz', entry));
  return f.op('i32.shl', entry, c32(12));
};

const markAt = (f: FunctionBody, cpu: Val, host: Val): Val =>
  f.op('i32.add', f.load('i32.load', cpu, S.PAGE_MARKS), f.op('i32.shr_u', host, c32(12)));

/** Sets bits in the entry last read, where that is a plain store. */
const setBits = (w: Walk, bits: Val, table: Val): void => {
  const { f, cpu } = w;
  f.if(f.op('i32.ne', f.op('i32.and', w.entry, bits), bits), () => {
    giveUp(f, f.op('i32.lt_s', table, c32(0)));
    giveUp(f, has(f, f.load('i32.load8_u', markAt(f, cpu, w.at)), S.MARK_CODE));
    f.assign(w.entry, f.op('i32.or', w.entry, bits));
    f.store('i32.store', w.at, w.entry);
  });
};

/** Reads the entry of one level; the frame table's entry for its table is in `table`. */
const readEntry = (w: Walk, index: Val, wide: boolean, table: Val, nxe: Val | undefined): void => {
  const { f, cpu } = w;
  f.assign(table, frameEntry(f, cpu, w.frame));
  f.assign(w.at, f.op('i32.add', hostOf(f, table), f.op('i32.shl', index, c32(wide ? 3 : 2))));
  if (wide) {
    const whole = f.load('i64.load', w.at);
    f.assign(w.entry, f.op('i32.wrap_i64', whole));
    // NX is reserved unless EFER.NXE is set; so are bits 62-52 outside long mode, which `nxe` carries in its upper bits.
    const upper = f.op('i32.wrap_i64', f.op('i64.shr_u', whole, c64(32n)));
    giveUp(f, f.op('i32.and', upper, nxe!));
    f.assign(w.upper, f.op('i32.or', w.upper, upper));
    f.assign(w.frame, f.op('i64.and', f.op('i64.shr_u', whole, c64(12n)), c64(FRAME)));
  } else {
    f.assign(w.entry, f.load('i32.load', w.at));
    f.assign(w.frame, f.op('i64.extend_i32_u', f.op('i32.shr_u', w.entry, c32(12))));
  }
  giveUp(f, f.op('i32.eqz', has(f, w.entry, P)));
  f.assign(w.rights, f.op('i32.and', w.rights, w.entry));
};

/** A large page: the low bits of the frame come from the address. Reserved address bits give up. */
const largePage = (w: Walk, shift: number, reserved: number, leaf: Label): void => {
  const { f } = w;
  giveUp(f, has(f, w.entry, reserved));
  const pages = (1 << (shift - 12)) - 1;
  const offset = has(f, f.op('i32.shr_u', w.low, c32(12)), pages);
  const base = f.op('i64.and', w.frame, c64(BigInt(~pages)));
  f.assign(w.frame, f.op('i64.or', base, f.op('i64.extend_i32_u', offset)));
  f.assign(w.shift, c32(shift));
  f.br(leaf);
};

/** Upper levels whose accessed bit is clear are left to the slow walk: it happens once for each table. */
const needAccessed = (w: Walk): void => giveUp(w.f, w.f.op('i32.eqz', has(w.f, w.entry, A)));

const walk32 = (w: Walk, table: Val, leaf: Label): void => {
  const { f, cpu, low } = w;
  f.assign(w.frame, f.op('i64.extend_i32_u', f.op('i32.shr_u', f.load('i32.load', cpu, S.CR3), c32(12))));
  readEntry(w, f.op('i32.shr_u', low, c32(22)), false, table, undefined);
  const large = f.op(
    'i32.and',
    has(f, w.entry, PS),
    f.op('i32.shl', has(f, f.load('i32.load', cpu, S.CR4), CR4_PSE), c32(3)),
  );
  // Bits 20-13 extend the address beyond 4 GiB.
  f.if(large, () => largePage(w, 22, 0x3f_e000, leaf));
  needAccessed(w);
  readEntry(w, has(f, f.op('i32.shr_u', low, c32(12)), 0x3ff), false, table, undefined);
};

const walkWide = (w: Walk, linear: Val, table: Val, leaf: Label): void => {
  const { f, cpu, low } = w;
  const efer = f.load('i32.load', cpu, S.EFER);
  const long = has(f, efer, EFER_LMA);
  const nxe = f.variable(I32);
  f.assign(nxe, f.select(has(f, efer, EFER_NXE), c32(0), c32(0x8000_0000)));
  const index = (shift: number): Val => has(f, f.op('i32.wrap_i64', f.op('i64.shr_u', linear, c64(shift))), 511);
  f.if(
    long,
    () => {
      // Both ends of the canonical range.
      const top = f.op('i64.add', f.op('i64.shr_s', linear, c64(47n)), c64(1n));
      giveUp(f, f.op('i64.gt_u', top, c64(1n)));
      f.assign(w.frame, f.op('i64.and', f.op('i64.shr_u', f.load('i64.load', cpu, S.CR3), c64(12n)), c64(FRAME)));
      readEntry(w, index(39), true, table, nxe);
      giveUp(f, has(f, w.entry, PS));
      needAccessed(w);
      readEntry(w, index(30), true, table, nxe);
      f.if(has(f, w.entry, PS), () => largePage(w, 30, 0x3fff_e000, leaf));
      needAccessed(w);
    },
    () => {
      f.assign(nxe, f.op('i32.or', nxe, c32(0x7ff0_0000)));
      const pdpte = f.op('i32.add', cpu, f.op('i32.shl', f.op('i32.shr_u', low, c32(30)), c32(3)));
      const whole = f.load('i64.load', pdpte, S.PDPTE);
      giveUp(f, f.op('i32.eqz', has(f, f.op('i32.wrap_i64', whole), P)));
      f.assign(w.frame, f.op('i64.and', f.op('i64.shr_u', whole, c64(12n)), c64(FRAME)));
    },
  );
  readEntry(w, index(21), true, table, nxe);
  f.if(has(f, w.entry, PS), () => largePage(w, 21, 0x1f_e000, leaf));
  needAccessed(w);
  readEntry(w, index(12), true, table, nxe);
};

/** Gives up unless the access is permitted; answers (i32) whether the page may be written under these rights. */
const checkRights = (w: Walk, flags: Val): Val => {
  const { f, cpu } = w;
  const writable = f.variable(I32);
  f.assign(writable, has(f, w.rights, RW));
  f.if(
    has(f, flags, FILL_USER),
    () => giveUp(f, f.op('i32.eqz', has(f, w.rights, US))),
    () => {
      const cr4 = f.load('i32.load', cpu, S.CR4);
      f.if(has(f, w.rights, US), () =>
        f.if(
          has(f, flags, FILL_EXECUTE),
          () => giveUp(f, has(f, cr4, CR4_SMEP)),
          () =>
            f.if(has(f, cr4, CR4_SMAP), () => {
              giveUp(f, has(f, flags, FILL_IMPLICIT));
              giveUp(f, f.op('i32.eqz', has(f, f.load('i32.load', cpu, S.EFLAGS_REST), S.AC)));
            }),
        ),
      );
      f.if(f.op('i32.eqz', has(f, f.load('i32.load', cpu, S.CR0), CR0_WP)), () => f.assign(writable, c32(1)));
    },
  );
  giveUp(f, f.op('i32.and', has(f, flags, FILL_WRITE), f.op('i32.eqz', writable)));
  // Bit 31 is NX; without EFER.NXE the entry was given up.
  f.if(has(f, flags, FILL_EXECUTE), () => giveUp(f, f.op('i32.lt_s', w.upper, c32(0))));
  return writable;
};

/** Puts the translation into its entry of a TLB set and into the log that a flush goes by. */
const enter = (w: Walk, linear: Val, set: Val, host: Val, writable: Val, global: Val): void => {
  const { f, cpu } = w;
  const index = f.op(
    'i32.and',
    f.op('i32.wrap_i64', f.op('i64.shr_u', linear, c64(7n))),
    c32((S.TLB_ENTRIES - 1) * S.TLB_ENTRY),
  );
  const entry = f.op('i32.add', set, index);
  const tag = f.op('i64.and', linear, c64(~0xfffn));
  const empty = f.select(index, c64(0n), c64(S.TLB_INVALID));
  f.store('i64.store', entry, tag, S.TLB_READ);
  f.store('i64.store', entry, f.select(writable, tag, empty), S.TLB_WRITE);
  f.store('i32.store', entry, host, S.TLB_HOST);
  const logged = has(f, f.load('i32.load', entry, S.TLB_FLAGS), S.TLB_LOGGED);
  f.if(f.op('i32.eqz', logged), () => {
    const count = f.load('i32.load', cpu, S.TLB_LOG_COUNT);
    f.if(f.op('i32.lt_u', count, c32(S.TLB_LOG_SIZE)), () =>
      f.store('i32.store', f.op('i32.add', cpu, f.op('i32.shl', count, c32(2))), entry, S.TLB_LOG),
    );
    f.store('i32.store', cpu, f.op('i32.add', count, c32(1)), S.TLB_LOG_COUNT);
  });
  const flags = f.op('i32.or', global, f.op('i32.shl', w.shift, c32(S.TLB_SHIFT_AT)));
  f.store('i32.store', entry, f.op('i32.or', flags, c32(S.TLB_LOGGED)), S.TLB_FLAGS);
  f.if(f.op('i32.gt_u', w.shift, c32(12)), () => f.store('i32.store', cpu, c32(1), S.TLB_LARGE));
};

/**
 * (cpu, linear, set, flags) -> address in linear memory behind a linear address, for an access with FILL_* rights; 0 when something has to
 * be looked at. The translation is in the set afterwards, except for one of a fetch.
 */
export const writeFill = (f: FunctionBody): void => {
  const cpu = f.param(0),
    linear = f.param(1),
    set = f.param(2),
    flags = f.param(3);
  const low = f.variable(I32),
    table = f.variable(I32);
  f.assign(low, f.op('i32.wrap_i64', linear));
  const w: Walk = {
    f,
    cpu,
    low,
    frame: f.variable(I64),
    entry: f.variable(I32),
    at: f.variable(I32),
    rights: f.variable(I32),
    upper: f.variable(I32),
    shift: f.variable(I32),
  };
  f.assign(w.shift, c32(12));
  f.assign(w.rights, c32(RW | US));
  f.if(
    has(f, f.load('i32.load', cpu, S.CR0), CR0_PG),
    () => {
      f.block((leaf) => {
        const wide = has(f, f.load('i32.load', cpu, S.CR4), CR4_PAE);
        f.if(
          wide,
          () => walkWide(w, linear, table, leaf),
          () => walk32(w, table, leaf),
        );
      });
    },
    () => {
      f.assign(w.frame, f.op('i64.extend_i32_u', f.op('i32.shr_u', low, c32(12))));
      f.assign(w.entry, c32(A | D));
    },
  );
  f.release();
  const writable = checkRights(w, flags);
  const write = has(f, flags, FILL_WRITE);
  const page = f.variable(I32),
    host = f.variable(I32),
    global = f.variable(I32);
  f.assign(page, frameEntry(f, cpu, w.frame));
  f.assign(host, hostOf(f, page));
  const mark = markAt(f, cpu, host);
  // Read-only for the guest, or with decoded code in it: a write has to be looked at.
  const guarded = f.op('i32.or', f.op('i32.lt_s', page, c32(0)), has(f, f.load('i32.load8_u', mark), S.MARK_CODE));
  giveUp(f, f.op('i32.and', f.op('i32.ne', write, c32(0)), guarded));
  f.if(f.op('i32.ne', w.at, c32(0)), () => {
    setBits(w, f.select(write, c32(A | D), c32(A)), table);
    const pge = has(f, f.load('i32.load', cpu, S.CR4), CR4_PGE);
    f.assign(global, f.op('i32.and', f.op('i32.ne', pge, c32(0)), f.op('i32.shr_u', w.entry, c32(8))));
  });
  f.if(has(f, flags, FILL_EXECUTE), () => f.return(f.op('i32.or', host, has(f, low, 0xfff))));
  const dirty = f.op('i32.ne', has(f, w.entry, D), c32(0));
  const writes = f.op('i32.and', f.op('i32.and', dirty, f.op('i32.ne', writable, c32(0))), f.op('i32.eqz', guarded));
  f.if(writes, () => f.store('i32.store8', mark, f.op('i32.or', f.load('i32.load8_u', mark), c32(S.MARK_WRITTEN))));
  enter(w, linear, set, host, writes, global);
  f.push(f.op('i32.or', host, has(f, low, 0xfff)));
};

/**
 * Does the page that BESIDE_LINEAR remembers, which has code, take a store of so many bytes (i64) at a distance (i64) from its begin, because there
 * is no code near? Then `then` gets its host address.
 */
export const besideCode = (f: FunctionBody, cpu: Val, distance: Val, size: Val, then: (host: Val) => void): void => {
  const room = f.op('i64.le_u', distance, f.op('i64.sub', c64(4096), size));
  const set = f.op('i32.eq', f.load('i32.load', cpu, S.BESIDE_SET), f.load('i32.load', cpu, S.TLB));
  f.if(f.op('i32.and', room, set), () => {
    const page = f.op('i32.shr_u', f.load('i32.load', cpu, S.BESIDE_HOST), c32(9));
    const parts = f.load('i64.load', f.op('i32.add', f.load('i32.load', cpu, S.CODE_PARTS), page));
    const end = f.op('i64.sub', f.op('i64.add', distance, size), c64(1n));
    const part = (offset: Val): Val => f.op('i64.shr_u', parts, f.op('i64.shr_u', offset, c64(6n)));
    const hit = f.op('i64.and', f.op('i64.or', part(distance), part(end)), c64(1n));
    f.if(f.op('i64.eqz', hit), () =>
      then(f.op('i32.add', f.load('i32.load', cpu, S.BESIDE_HOST), f.op('i32.wrap_i64', distance))),
    );
  });
};

/** (cpu, descriptor) -> address or 0: {@link MemoryAccess.slow}, which is asked only when the fill does not do. */
export const writeSlow = (f: FunctionBody, fill: number, slow: number): void => {
  const cpu = f.param(0),
    descriptor = f.param(1);
  const linear = f.load('i64.load', cpu, S.SLOW_LINEAR);
  const writes = has(f, descriptor, SLOW_WRITE | SLOW_UPDATE);
  f.if(writes, () => {
    const distance = f.op('i64.sub', linear, f.load('i64.load', cpu, S.BESIDE_LINEAR));
    const size = f.op('i64.extend_i32_u', has(f, descriptor, 0xff));
    besideCode(f, cpu, distance, size, (host) => {
      const count = f.op('i32.add', f.load('i32.load', cpu, S.BESIDE_COUNT), c32(1));
      f.store('i32.store', cpu, count, S.BESIDE_COUNT);
      f.if(f.op('i32.lt_u', count, c32(S.BESIDE_MANY)), () => f.return(host));
    });
  });
  const set = f.load('i32.load', cpu, S.TLB);
  const end = f.op('i32.add', has(f, f.op('i32.wrap_i64', linear), 0xfff), has(f, descriptor, 0xff));
  const never = f.op('i32.eq', f.op('i32.sub', set, cpu), c32(S.TLB_SETS + S.TLB_NEVER * S.TLB_SET));
  f.if(f.op('i32.eqz', f.op('i32.or', never, f.op('i32.gt_u', end, c32(4096)))), () => {
    const write = f.op('i32.ne', writes, c32(0));
    const user = f.op('i32.shl', f.op('i32.eq', f.load('i32.load', cpu, S.CPL), c32(3)), c32(1));
    const host = f.call(fill, [cpu, linear, set, f.op('i32.or', write, user)], I32);
    f.if(host, () => f.return(host));
  });
  f.push(f.call(slow, [cpu, descriptor], I32));
};

/** Of the last argument of the function below, beside the size: the access writes. */
export const REFILL_WRITE = 0x100;

/** (cpu, linear, size and REFILL_WRITE) -> address or 0: what translated code asks when the TLB does not know a page. Nothing but the TLB changes. */
export const writeRefill = (f: FunctionBody, fill: number): void => {
  const cpu = f.param(0),
    linear = f.param(1),
    access = f.param(2);
  const set = f.load('i32.load', cpu, S.TLB);
  const end = f.op('i32.add', has(f, f.op('i32.wrap_i64', linear), 0xfff), has(f, access, 0xff));
  const never = f.op('i32.eq', f.op('i32.sub', set, cpu), c32(S.TLB_SETS + S.TLB_NEVER * S.TLB_SET));
  giveUp(f, f.op('i32.or', never, f.op('i32.gt_u', end, c32(4096))));
  // A region remembers pages that it found. One of them must not lose its place to another: without its entry it would be walked anew.
  const index = f.op('i32.and', f.op('i32.shr_u', f.op('i32.wrap_i64', linear), c32(7)), c32(S.TLB_SET - S.TLB_ENTRY));
  const tag = f.load('i64.load', f.op('i32.add', set, index), S.TLB_READ);
  const taken = f.op('i64.ne', tag, f.select(index, c64(0n), c64(S.TLB_INVALID)));
  const other = f.op('i64.ne', tag, f.op('i64.and', linear, c64(~0xfffn)));
  giveUp(f, f.op('i32.and', taken, other));
  const write = f.op('i32.shr_u', access, c32(8));
  const user = f.op('i32.shl', f.op('i32.eq', f.load('i32.load', cpu, S.CPL), c32(3)), c32(1));
  f.push(f.call(fill, [cpu, linear, set, f.op('i32.or', write, user)], I32));
};

/** (cpu, linear, entry) -> 1 when a stale entry of the code look-aside, `entry` + CODE_TLB, is right again. */
export const writeConfirm = (f: FunctionBody, fill: number): void => {
  const cpu = f.param(0),
    linear = f.param(1),
    entry = f.param(2);
  const user = f.op('i32.shl', f.op('i32.eq', f.load('i32.load', cpu, S.CPL), c32(3)), c32(1));
  const page = f.op('i64.and', linear, c64(~0xfffn));
  const host = f.call(fill, [cpu, page, c32(0), f.op('i32.or', user, c32(FILL_EXECUTE))], I32);
  giveUp(f, f.op('i32.eqz', host));
  giveUp(f, f.op('i32.ne', host, f.load('i32.load', entry, S.CODE_TLB + 12)));
  const tag = f.op('i32.and', f.load('i32.load', entry, S.CODE_TLB), c32(~S.CODE_STALE));
  f.store('i32.store', entry, tag, S.CODE_TLB);
  f.push(c32(1));
};

/** Defines them; `slow` is the imported slow path. */
export const defineWalk = (
  m: ModuleBuilder,
  slow: number,
): { fill: number; slow: number; confirm: number; refill: number } => {
  const fill = m.define([I32, I64, I32, I32], [I32]);
  writeFill(fill.body);
  const outer = m.define([I32, I32], [I32]);
  writeSlow(outer.body, fill.index, slow);
  const confirm = m.define([I32, I64, I32], [I32]);
  writeConfirm(confirm.body, fill.index);
  const refill = m.define([I32, I64, I32], [I32]);
  writeRefill(refill.body, fill.index);
  return { fill: fill.index, slow: outer.index, confirm: confirm.index, refill: refill.index };
};
