/** Names of error numbers, as tables show them. */
import * as errno from '../../abi/xen/errno.ts';

const NAMES = new Map<number, string>(Object.entries(errno).map(([name, value]) => [value, name]));

/** Result of a hypercall: the number, or `-ENAME`. */
export const resultName = (result: number): string =>
  result < 0 ? `-${NAMES.get(-result) ?? -result}` : String(result);
