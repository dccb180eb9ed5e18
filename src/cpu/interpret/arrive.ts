/** Arriving at an instruction: from RIP to the code cache's table entry, and from region to region. */
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { c32, c64, I32, type Val } from '../wasm/value.ts';
import * as status from './status.ts';

/**
 * Address of the table entry for an instruction pointer that is cut to its width; `unknown` is written for pages that the look-aside does not
 * have. `confirm`, a function of mmu/emitted-walk.ts, is asked about those that it has but that may have another translation now.
 */
export const tableEntry = (
  f: FunctionBody,
  cpu: Val,
  ip: Val,
  mask: Val,
  unknown: () => void,
  confirm?: number,
): Val => {
  const linear = f.op('i64.and', f.op('i64.add', ip, f.load('i64.load', cpu, S.CS_BASE)), mask);
  const low = f.op('i32.wrap_i64', linear);
  // Pages a MiB apart have different entries; the privilege bit of the mode key does the same to user and supervisor code of one page.
  const mode = f.load('i32.load', cpu, S.MODE);
  const pages = f.op('i32.add', f.op('i32.shr_u', low, c32(12)), f.op('i32.shr_u', low, c32(20)));
  const spread = f.op('i32.add', pages, f.op('i32.shl', mode, c32(3)));
  const slot = f.op('i32.shl', f.op('i32.and', spread, c32(S.CODE_TLB_ENTRIES - 1)), c32(4));
  const entry = f.op('i32.add', cpu, slot);
  const tag = f.op('i64.or', f.op('i64.and', linear, c64(~0xfffn)), f.op('i64.extend_i32_u', mode));
  const found = f.load('i64.load', entry, S.CODE_TLB);
  f.ifRarely(f.op('i64.ne', found, tag), () => {
    if (confirm === undefined) unknown();
    else {
      const stale = f.op('i64.eq', found, f.op('i64.or', tag, c64(S.CODE_STALE)));
      const good = f.either(
        stale,
        () => f.call(confirm, [cpu, linear, entry], I32),
        () => c32(0),
        I32,
      );
      f.if(f.op('i32.eqz', good), unknown);
    }
  });
  const table = f.load('i32.load', entry, S.CODE_TLB + 8);
  return f.op('i32.add', table, f.op('i32.shl', f.op('i32.and', low, c32(0xfff)), c32(3)));
};

/** The table entry's second word counts arrivals up to the threshold, or names the region that begins there. */
export const ARRIVALS = 4;
export const isRegion = (f: FunctionBody, arrivals: Val): Val => f.op('i32.lt_s', arrivals, c32(0));

/** (cpu, region) -> status: runs a region and those that follow it directly. A function of its own, as small functions are compiled better. */
export const writeChain = (m: ModuleBuilder): number => {
  const { index, body: f } = m.define([I32, I32], [I32]);
  const [cpu, region] = [f.param(0), f.param(1)];
  const type = m.type([I32], [I32]);
  f.loop((again) => {
    const st = f.callIndirect(type, f.op('i32.and', region, c32(0x7fff_ffff)), [cpu], I32);
    f.if(f.op('i32.ne', st, c32(status.JUMPED)), () => f.return(st));
    const mask = f.load('i64.load', cpu, S.LINEAR_MASK);
    const ip = f.op('i64.and', f.load('i64.load', cpu, S.RIP), mask);
    const place = tableEntry(f, cpu, ip, mask, () => f.return(c32(status.JUMPED)));
    f.if(f.op('i32.eqz', f.load('i32.load', place)), () => f.return(c32(status.JUMPED)));
    f.assign(region, f.load('i32.load', place, ARRIVALS));
    f.brIf(isRegion(f, region), again);
  });
  f.push(c32(status.JUMPED));
  return index;
};
