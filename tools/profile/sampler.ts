/** Host time by what it was spent on: samples of the JavaScript engine's profiler, sorted by the nearest function that says what it is for. */
import { type Profiler, Session } from 'node:inspector/promises';

/** What a call stack is about, by the functions and files on it; the innermost that is listed decides. */
const ABOUT: readonly (readonly [what: string, functions: readonly string[], file: RegExp])[] = [
  ['translation', ['translate', 'compile'], /cpu\/(decode\/cache|interpret\/instance)\.ts$/],
  ['decoding', ['lookup'], /cpu\/decode\/cache\.ts$/],
  ['memory outside the TLB', ['slow', 'commit'], /cpu\/(mmu\/access|interpret\/instance)\.ts$/],
  ['routines', ['callRoutine'], /cpu\/cpu\.ts$/],
  [
    'exceptions and interrupts',
    ['raise', 'deliverPending', 'deliverException', 'deliverInterrupt'],
    /cpu\/(cpu|system\/deliver)\.ts$/,
  ],
  ['hypercalls', ['dispatch', 'hypercall'], /xen\/.*\.ts$/],
  ['devices', ['in', 'out', 'mmioRead', 'mmioWrite', 'read', 'write'], /machine\/(bus\/.*|platform)\.ts$/],
  ['stepping', ['step', 'run'], /cpu\/cpu\.ts$/],
  ['scheduling and time', ['run', 'slice', 'service'], /(xen\/scheduler|toolstack\/launch)\.ts$/],
];

const INTERPRETER = 'interpreter',
  TRANSLATED = 'translated regions',
  OTHER = 'the rest';

/** Runs something and gives milliseconds by kind, most first. */
export async function sampled(work: () => void): Promise<Map<string, number>> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 500 });
  await session.post('Profiler.start');
  work();
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  return sort(profile);
}

function sort({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Map<string, number> {
  const wasm = nodes.filter(({ callFrame }) => callFrame.url.startsWith('wasm://'));
  // The interpreter is the first module of a process.
  const first = Math.min(...wasm.map(({ callFrame }) => Number(callFrame.scriptId)));
  const kinds = new Map<number, string>();
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const visit = (node: Profiler.ProfileNode, outer: string): void => {
    const { functionName, url, scriptId } = node.callFrame;
    const about = ABOUT.find(([, functions, file]) => functions.includes(functionName) && file.test(url))?.[0] ?? outer;
    let own = about;
    if (url.startsWith('wasm://')) own = Number(scriptId) === first ? INTERPRETER : TRANSLATED;
    else if (functionName === '(garbage collector)') own = 'garbage collection';
    kinds.set(node.id, own);
    for (const id of node.children ?? []) visit(byId.get(id)!, about);
  };
  visit(nodes[0]!, OTHER);
  const total = new Map<string, number>();
  samples.forEach((id, i) => {
    const kind = kinds.get(id) ?? OTHER;
    total.set(kind, (total.get(kind) ?? 0) + timeDeltas[i]! / 1000);
  });
  return new Map([...total].sort((a, b) => b[1] - a[1]));
}
