/** One line for each hypercall. */
import * as numbers from '../abi/xen/xen.ts';
import type { HypercallTrace } from '../xen/index.ts';

const NAMES = new Map(
  Object.entries(numbers)
    .filter(([name, value]) => name.startsWith('__HYPERVISOR_') && typeof value === 'number')
    .map(([name, value]) => [value as number, name.slice('__HYPERVISOR_'.length)]),
);

const hex = (value: bigint): string => (value < 10n ? String(value) : `0x${value.toString(16)}`);

/** BigInts become text, byte arrays their length. */
const show = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === 'bigint') return hex(inner);
    return inner instanceof Uint8Array ? `${inner.length} bytes` : inner;
  }).replaceAll('"', '');

export function traceLine({ context, hypercall, entry, arg, result }: HypercallTrace): string {
  const { domain, vcpu, width, number, args } = context;
  const name = NAMES.get(number) ?? `hypercall ${number}`;
  const sub = hypercall !== undefined && !hypercall.entries.has(undefined) ? `.${hypercall.command(args)}` : '';
  const what = entry?.arg === undefined ? args.map(hex).join(', ') : show(arg ?? 'unreadable');
  const answer = typeof result === 'object' ? result.kind : String(result);
  return `${domain.now()} d${domain.id}v${vcpu.id} ${width} ${name}${sub}(${what}) = ${answer}`;
}
