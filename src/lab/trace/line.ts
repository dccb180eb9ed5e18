/** A finished hypercall as text, and as what two runs can be compared by. */
import { resultName } from '../../abi/xen/errno.ts';
import type { HypercallTrace } from '../../xen/index.ts';
import { argumentShape, hypercallName, operationName } from './names.ts';

const hex = (value: bigint): string => (value < 10n ? String(value) : `0x${value.toString(16)}`);

/** BigInts become text, byte arrays their length. */
const show = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === 'bigint') return hex(inner);
    return inner instanceof Uint8Array ? `${inner.length} bytes` : inner;
  }).replaceAll('"', '');

function operationOf({ context, hypercall }: HypercallTrace): number | undefined {
  if (hypercall === undefined || hypercall.entries.has(undefined)) return undefined;
  return hypercall.command(context.args);
}

/** `vcpu_op VCPUOP_up`, or `set_timer_op` when there are no operations. */
export function callName(trace: HypercallTrace): string {
  const { number } = trace.context;
  const operation = operationOf(trace);
  return operation === undefined
    ? hypercallName(number)
    : `${hypercallName(number)} ${operationName(number, operation)}`;
}

/** `0`, `-EINVAL`, or what becomes of a call that has no result yet. */
export const resultText = ({ result }: HypercallTrace): string =>
  typeof result === 'object' ? result.kind : resultName(result);

/** Values among the arguments: neither operation nor pointers, and nothing beyond what the hypercall takes. */
export function plainArguments({ context }: HypercallTrace): string[] {
  const shape = argumentShape(context.number);
  return [...shape].flatMap((letter, n) => (letter === 'v' ? [hex(context.args[n] ?? 0n)] : []));
}

/** Name, values and the structure behind the pointer if it was read. */
export function callText(trace: HypercallTrace): string {
  const { context, entry, arg } = trace;
  const shape = argumentShape(context.number);
  const structure = entry?.arg === undefined ? undefined : show(arg ?? 'unreadable');
  const shown = [...shape].flatMap((letter, n) => {
    if (letter === 'c' && operationOf(trace) !== undefined) return [];
    return [letter === 'p' && structure !== undefined ? structure : hex(context.args[n] ?? 0n)];
  });
  return `${callName(trace)}(${shown.join(', ')})`;
}

/** One line of a trace: time in ns, domain and vCPU, layout, call and result. */
export function traceLine(trace: HypercallTrace): string {
  const { domain, vcpu, width } = trace.context;
  return `${domain.now()} d${domain.id}v${vcpu.id} ${width} ${callText(trace)} = ${resultText(trace)}`;
}
