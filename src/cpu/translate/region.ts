/**
 * Writes the WebAssembly of one region: a function (cpu) -> status with a block of code per guest block.
 *
 * The code assumes: the bytes it was made from (stores to them drop the region), the mode key it was made under, and a code
 * segment limit of 4 GiB outside 64-bit mode (checked on entry). It charges the budget per block and leaves to the interpreter what does
 * not fit, so a slice ends at exactly the instruction asked for.
 */
import { HELPERS } from '../helpers.ts';
import type { Imports } from '../interpret/semantics.ts';
import * as status from '../interpret/status.ts';
import { instructionPlan } from '../isa/plan.ts';
import { unitCheck } from '../isa/unit.ts';
import * as S from '../state.ts';
import { c32, c64, type Label } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { I32 } from '../wasm/opcodes.ts';
import type { Block } from './discover.ts';
import { TranslatorSemantics } from './semantics.ts';

export const buildRegion = (blocks: readonly Block[], entry: number, mode: number): Uint8Array<ArrayBuffer> => {
  const m = new ModuleBuilder();
  const imports: Imports = {
    slow: m.import('env', 'slow', [I32, I32], [I32]),
    commit: m.import('env', 'commit', [I32], [I32]),
    segment: m.import('env', 'segment', [I32, I32, I32, I32], [I32]),
    helpers: HELPERS.map((_, i) => m.import('helpers', String(i), [I32, I32, I32], [I32])),
  };
  const { index, body: f } = m.define([I32], [I32]);
  m.export('region', index);
  const numbers = new Map(blocks.map((b, i) => [b.offset, i]));
  const where = f.variable(I32);
  let top: Label = 0;
  const s: TranslatorSemantics = new TranslatorSemantics(f, imports, instructionPlan().variants[2]!, mode, {
    goto: (offset) => {
      const number = numbers.get(Number(offset));
      if (number === undefined) s.exit(f.op('i64.add', s.pageIp, c64(offset)), status.JUMPED);
      else {
        f.assign(where, c32(number));
        f.br(top);
      }
    },
  });
  const { cpu } = s;
  if ((mode & S.MODE_SIZE) !== S.MODE_64) {
    const limit = f.load('i32.load', cpu, S.seg(S.CS) + S.SEG_LIMIT);
    f.if(f.op('i32.ne', limit, c32(-1)), () => f.return(c32(status.INTERPRET)));
  }
  f.assign(s.pageIp, f.op('i64.sub', f.load('i64.load', cpu, S.RIP), c64(entry)));
  f.assign(s.budget, f.load('i32.load', cpu, S.BUDGET));
  f.assign(where, c32(numbers.get(entry)!));
  f.release();

  const writeBlock = (block: Block, number: number) => {
    const count = block.instructions.length;
    f.if(f.op('i32.lt_u', s.budget, c32(count)), () =>
      s.exit(f.op('i64.add', s.pageIp, c64(block.offset)), status.INTERPRET),
    );
    f.assign(s.budget, f.op('i32.sub', s.budget, c32(count)));
    f.release();
    let at = block.offset;
    block.instructions.forEach((d, i) => {
      s.begin(d, at, count - 1 - i);
      unitCheck(s, d.row);
      d.row.mean!(s, ...d.parsed.operands.map((o) => s.operand(o)));
      at += d.length;
      if (i < count - 1 || block.after !== 'none') s.end();
      f.release();
    });
    if (block.after === 'interpret') s.exit(f.op('i64.add', s.pageIp, c64(block.end)), status.INTERPRET);
    else if (block.after === 'next' && numbers.get(block.end) !== number + 1) {
      const next = numbers.get(block.end);
      if (next === undefined) s.exit(f.op('i64.add', s.pageIp, c64(block.end)), status.INTERPRET);
      else {
        f.assign(where, c32(next));
        f.br(top);
      }
    } else if (block.after === 'none') f.unreachable();
    f.release();
  };

  f.loop((label) => {
    top = label;
    const labels: Label[] = [];
    const nest = (i: number): void =>
      f.block((inner) => {
        labels[i] = inner;
        if (i === 0) f.brTable(where, labels, labels[0]);
        else {
          nest(i - 1);
          writeBlock(blocks[i - 1], i - 1);
        }
      });
    nest(blocks.length - 1);
    writeBlock(blocks[blocks.length - 1], blocks.length - 1);
  });
  f.unreachable();
  return m.finish();
};
