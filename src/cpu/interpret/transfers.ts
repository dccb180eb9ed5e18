/** Control transfers that have functions of their own in the interpreter's module, for instructions and for exceptions. */
import { anyVariant } from '../isa/plan.ts';
import { writeDelivery } from '../system/emitted-gates.ts';
import { writeReturn, writeSyscall, writeSysret } from '../system/emitted-returns.ts';
import { TRANSFER_PARAMS, Transfer } from '../system/emitted-transfer.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32 } from '../wasm/value.ts';
import type { Imports } from './handler.ts';
import { InterpreterSemantics } from './semantics.ts';

const WRITERS = {
  deliver: writeDelivery,
  iret: writeReturn,
  syscall: writeSyscall,
  sysret: writeSysret,
} as const;

export type TransferName = keyof typeof WRITERS;

/** Function indices by name. */
export const defineTransfers = (m: ModuleBuilder, imports: Imports, fill: number): Record<TransferName, number> => {
  const define = (write: (t: Transfer) => void): number => {
    const { index, body } = m.define(TRANSFER_PARAMS, [I32]);
    const s = new InterpreterSemantics(body, anyVariant(), imports);
    write(new Transfer(s, fill));
    return index;
  };
  const { deliver, iret, syscall, sysret } = WRITERS;
  return { deliver: define(deliver), iret: define(iret), syscall: define(syscall), sysret: define(sysret) };
};
