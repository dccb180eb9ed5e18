/** Hyper-V hypercalls Xen answers: long spin wait, remote TLB flush and inter-processor interrupts, with plain and extended vCPU sets. */
import { type VcpuId, vcpuId } from '../../base/int.ts';
import * as B from './bits.ts';
import type { ViridianHost } from './host.ts';

/** Input value (control word) and the two parameters: guest-physical addresses, or the values themselves with the fast bit. */
export interface ViridianCall {
  readonly control: bigint;
  readonly input: bigint;
  readonly output: bigint;
}

/** Result value: status in bits 15-0, completed repetitions in bits 43-32. Unknown codes give invalid code. */
export function viridianHypercall(host: ViridianHost, caller: VcpuId, call: ViridianCall): bigint {
  const handler = CALLS.get(Number(call.control & 0xffffn));
  return handler ? handler(host, caller, call) : B.STATUS_INVALID_CODE;
}

type Handler = (host: ViridianHost, caller: VcpuId, call: ViridianCall) => bigint;

/** Completed: all repetitions asked for. */
const repeated = (call: ViridianCall): bigint => ((call.control >> 32n) & 0xfffn) << 32n;

const everyone = (host: ViridianHost): VcpuId[] => Array.from({ length: host.vcpus }, (_, id) => vcpuId(id));

/** vCPUs of a 64-bit mask whose bit 0 is vCPU `first`. */
const fromMask = (host: ViridianHost, mask: bigint, first = 0): VcpuId[] =>
  everyone(host).filter((id) => id >= first && id < first + 64 && ((mask >> BigInt(id - first)) & 1n) !== 0n);

/** u64 at a word index of guest memory read at an address. */
function words(host: ViridianHost, address: bigint, count: number): bigint[] | undefined {
  const bytes = host.readPhysical(address, count * 8);
  if (!bytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: count }, (_, i) => view.getBigUint64(i * 8, true));
}

/** HV_VP_SET at an address: u64 format, u64 valid banks, then one u64 per valid bank. */
function vpSet(host: ViridianHost, address: bigint): VcpuId[] | undefined {
  const head = words(host, address, 2);
  if (!head) return undefined;
  const [format, valid] = head as [bigint, bigint];
  if (format === B.SET_ALL) return everyone(host);
  if (format !== B.SET_SPARSE_4K) return undefined;
  const banks = Array.from({ length: 64 }, (_, bank) => bank).filter((bank) => ((valid >> BigInt(bank)) & 1n) !== 0n);
  const contents = words(host, address + 16n, banks.length);
  return contents && banks.flatMap((bank, i) => fromMask(host, contents[i]!, bank * 64));
}

/** Parameters: address space, flags, then a mask or a set. Never fast. */
function flush(extended: boolean): Handler {
  return (host, _caller, call) => {
    if ((call.control & B.HVCALL_FAST) !== 0n) return B.STATUS_INVALID_PARAMETER;
    const parameters = words(host, call.input, 3);
    if (!parameters) return B.STATUS_INVALID_PARAMETER;
    const all = (parameters[1]! & B.FLUSH_ALL_PROCESSORS) !== 0n;
    const some = extended ? vpSet(host, call.input + 16n) : fromMask(host, parameters[2]!);
    const targets = all ? everyone(host) : some;
    if (!targets) return B.STATUS_INVALID_PARAMETER;
    host.flushTlb(targets);
    return repeated(call);
  };
}

/** Vector 0x10 to 0xff to the enabled LAPICs among the targets. */
function send(host: ViridianHost, vector: bigint, targets: readonly VcpuId[] | undefined): bigint {
  if (vector < 0x10n || vector > 0xffn || !targets) return B.STATUS_INVALID_PARAMETER;
  for (const target of targets) {
    const lapic = host.lapic(target);
    if (lapic.enabled) lapic.request(Number(vector), false);
  }
  return 0n;
}

/** Parameters: u32 vector, u8 trust level 0, three zero bytes, then the mask; or vector and mask by value when fast. */
const sendIpi: Handler = (host, _caller, call) => {
  if ((call.control & B.HVCALL_FAST) !== 0n) {
    if (call.input >> 32n !== 0n) return B.STATUS_INVALID_PARAMETER;
    return send(host, call.input, fromMask(host, call.output));
  }
  const parameters = words(host, call.input, 2);
  if (!parameters || parameters[0]! >> 32n !== 0n) return B.STATUS_INVALID_PARAMETER;
  return send(host, parameters[0]!, fromMask(host, parameters[1]!));
};

const sendIpiEx: Handler = (host, _caller, call) => {
  if ((call.control & B.HVCALL_FAST) !== 0n) return B.STATUS_INVALID_PARAMETER;
  const parameters = words(host, call.input, 1);
  if (!parameters || parameters[0]! >> 32n !== 0n) return B.STATUS_INVALID_PARAMETER;
  return send(host, parameters[0]!, vpSet(host, call.input + 8n));
};

const CALLS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [
    B.HVCALL_NOTIFY_LONG_SPIN_WAIT,
    (host, caller) => {
      host.yield(caller);
      return 0n;
    },
  ],
  [B.HVCALL_FLUSH_SPACE, flush(false)],
  [B.HVCALL_FLUSH_LIST, flush(false)],
  [B.HVCALL_FLUSH_SPACE_EX, flush(true)],
  [B.HVCALL_FLUSH_LIST_EX, flush(true)],
  [B.HVCALL_SEND_IPI, sendIpi],
  [B.HVCALL_SEND_IPI_EX, sendIpiEx],
]);
