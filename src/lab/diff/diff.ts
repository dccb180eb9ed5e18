/**
 * Two runs of one guest side by side: the hypercalls of each vCPU, compared one by one by number, operation, arguments that are not pointers, and
 * result. Guests are deterministic, so the first difference between the streams is the first thing the guest could have noticed.
 */
import type { HypercallTrace, XenMachine } from '../../xen/index.ts';
import { callName, callText, plainArguments, resultText } from '../trace/line.ts';

/** What of a call is compared, and how it is shown. */
export interface Call {
  readonly vcpu: number;
  /** Place among all calls of its run, and guest time in ns. */
  readonly sequence: number;
  readonly time: bigint;
  readonly key: string;
  readonly text: string;
}

/** Calls that are kept of a run; what comes later is not compared. */
export const MAXIMUM_CALLS = 500_000;

/** Records the hypercalls of one run; {@link attach} it before the machine runs. */
export class CallRecorder {
  /** By vCPU, in order. */
  readonly streams: Call[][] = [];
  total = 0;

  attach(machine: XenMachine): void {
    machine.table.onHypercall = (trace) => this.record(trace);
  }

  record(trace: HypercallTrace): void {
    const { id } = trace.context.vcpu;
    const sequence = this.total++;
    if (sequence >= MAXIMUM_CALLS) return;
    const result = resultText(trace);
    const call: Call = {
      vcpu: id,
      sequence,
      time: trace.context.domain.now(),
      key: `${trace.context.width} ${callName(trace)}(${plainArguments(trace).join()}) = ${result}`,
      text: `${callText(trace)} = ${result}`,
    };
    let stream = this.streams[id];
    if (stream === undefined) {
      stream = [];
      this.streams[id] = stream;
    }
    stream.push(call);
  }

  /** Not every call could be kept. */
  get cut(): boolean {
    return this.total > MAXIMUM_CALLS;
  }
}

export interface Divergence {
  readonly vcpu: number;
  /** Calls of this vCPU that were the same before. */
  readonly index: number;
  /** The calls that differ; undefined where the run made no more. */
  readonly left: Call | undefined;
  readonly right: Call | undefined;
  /** Calls of this vCPU around the difference in both runs, those before it first. */
  readonly context: readonly {
    readonly index: number;
    readonly left: Call | undefined;
    readonly right: Call | undefined;
  }[];
}

const CONTEXT_BEFORE = 4;
const CONTEXT_AFTER = 3;

/** The earliest difference, or undefined when all streams are the same. */
export function firstDivergence(left: CallRecorder, right: CallRecorder): Divergence | undefined {
  let first: Divergence | undefined;
  const vcpus = Math.max(left.streams.length, right.streams.length);
  for (let vcpu = 0; vcpu < vcpus; vcpu++) {
    const found = compare(vcpu, left.streams[vcpu] ?? [], right.streams[vcpu] ?? [], left.cut || right.cut);
    if (found !== undefined && (first === undefined || place(found) < place(first))) first = found;
  }
  return first;
}

const place = ({ left, right }: Divergence): number =>
  Math.min(left?.sequence ?? Number.POSITIVE_INFINITY, right?.sequence ?? Number.POSITIVE_INFINITY);

function compare(vcpu: number, a: readonly Call[], b: readonly Call[], cut: boolean): Divergence | undefined {
  const common = Math.min(a.length, b.length);
  let index = 0;
  while (index < common && a[index]!.key === b[index]!.key) index++;
  if (index === a.length && index === b.length) return undefined;
  // Streams that were cut off may end at different places.
  if (cut && index === common) return undefined;
  const context: { index: number; left: Call | undefined; right: Call | undefined }[] = [];
  for (let n = Math.max(0, index - CONTEXT_BEFORE); n <= index + CONTEXT_AFTER; n++)
    if (n < a.length || n < b.length) context.push({ index: n, left: a[n], right: b[n] });
  return { vcpu, index, left: a[index], right: b[index], context };
}
