/** From a command line and files to a plan of a run. Everything wrong with them is found here, before anything runs. */
import {
  BadInput,
  buildHvm,
  buildPv,
  buildPvh,
  compressionOf,
  type DomainConfig,
  describeNotes,
  type GuestImage,
  type GuestType,
  HVM_MAX_VCPUS,
  hasPvEntry,
  isBzImage,
  isElf,
  type Kernel,
  type ModuleInput,
  openKernel,
  PV_MAX_VCPUS,
  readConfig,
} from '../toolstack/index.ts';
import { type Arguments, UsageError } from './command.ts';
import type { Host } from './host.ts';
import { type Machine, type RunPlan, TRACES } from './machine.ts';
import { choiceOption, integerOption, secondsOption } from './options.ts';

const DEFAULT_MEMORY_MIB = 128;
/** Ports that the tool stack takes before the guest runs. */
const SERVICE_PORTS = 2;
/** A fixed identity, so that runs are alike. */
const DEFAULT_UUID = '00000000-0000-4000-8000-000000000001';

export interface Planned {
  readonly plan: RunPlan;
  /** Lines for stderr. */
  readonly warnings: readonly string[];
  /** Seconds of real time. */
  readonly wallTimeout?: number;
}

/** What the guest argument asks for, before options change it. */
type Request = Partial<DomainConfig> & {
  readonly name: string;
  readonly file: string;
  readonly kernelPath: string;
  readonly kernelFile: Uint8Array;
};

/** Throws {@link UsageError}, `FileProblem` or `BadInput`. Options are checked first, then files. */
export function makePlan(args: Arguments, host: Host, machine: Machine): Planned {
  const vcpus = integerOption(args, 'vcpus', 1, PV_MAX_VCPUS);
  const memory = integerOption(args, 'memory', 1, machine.maximumMemoryMib);
  const type = choiceOption(args, 'type', ['pv', 'pvh', 'hvm'] as const);
  const engine = choiceOption(args, 'engine', machine.engines) ?? 'auto';
  const trace = choiceOption(args, 'trace', TRACES);
  const timeout = secondsOption(args, 'timeout');
  const wallTimeout = secondsOption(args, 'wall-timeout');
  const xen = choiceOption(args, 'xen', machine.versions) ?? machine.defaultVersion;
  const rules = ruleOverrides(args.values.get('set') ?? [], machine);

  const request = readGuest(args.positionals[0]!, host);
  const modules = readModules(request, args.values.get('module') ?? [], host);
  const memoryMib = memory ?? request.memoryMib ?? DEFAULT_MEMORY_MIB;
  if (memoryMib > machine.maximumMemoryMib) {
    throw new UsageError(
      `${request.file}: memory = ${memoryMib} MiB is more than can be given here (${machine.maximumMemoryMib} MiB)`,
    );
  }
  if (memoryMib < 1) throw new UsageError(`${request.file}: memory = ${memoryMib}: a guest needs at least 1 MiB`);
  const maxVcpus = vcpus ?? request.maxVcpus ?? 1;
  const ports = request.maxEventChannels ?? Number.POSITIVE_INFINITY;
  if (ports < SERVICE_PORTS)
    throw new UsageError(
      `${request.file}: max_event_channels = ${ports}: XenStore and the console need ${SERVICE_PORTS} event channels`,
    );
  const cmdline = args.values.get('cmdline')?.[0] ?? request.cmdline;
  const kernel = inFile(request.kernelPath, () => openKernel(request.kernelFile, host.decompress));
  const guestType = chooseType(request, type, kernel);
  const most = guestType === 'pv' ? PV_MAX_VCPUS : HVM_MAX_VCPUS;
  if (maxVcpus < 1 || maxVcpus > most) {
    const kind = guestType === 'pv' ? 'a PV guest' : 'an HVM or PVH guest';
    throw new UsageError(`${request.file}: ${maxVcpus} vCPUs: ${kind} has 1 to ${most}`);
  }
  const common = { memoryMib, maxVcpus, vcpus: vcpus ?? request.vcpus ?? 1, modules };
  const image = inFile(request.kernelPath, () => buildGuest(guestType, kernel, common, cmdline));
  const warnings = [...(request.warnings ?? [])];
  if (guestType === 'hvm' && cmdline !== undefined) warnings.push('the command line is not passed to HVM firmware');
  return {
    plan: {
      image,
      name: request.name,
      uuid: checkedUuid(request),
      memoryMib,
      maxMemoryMib: Math.max(request.maxMemoryMib ?? 0, memoryMib),
      xen,
      rules,
      engine,
      viridian: request.viridian ?? [],
      cpuid: request.cpuid ?? [],
      forcedEmulation: args.switches.has('hvm-fep'),
      ...pick(request, ['maxEventChannels', 'maxGrantFrames', 'maxGrantVersion', 'maxMaptrackFrames', 'pirqs']),
      softReset: (request.onSoftReset ?? 'soft-reset') === 'soft-reset',
      trace: trace === undefined ? [] : [trace],
      ...(timeout === undefined ? {} : { timeLimit: BigInt(Math.round(timeout * 1e9)) }),
    },
    warnings,
    ...(wallTimeout === undefined ? {} : { wallTimeout }),
  };
}

function buildGuest(
  type: GuestType,
  kernel: Kernel,
  common: { memoryMib: number; maxVcpus: number; vcpus: number; modules: readonly ModuleInput[] },
  cmdline: string | undefined,
): GuestImage {
  if (type === 'hvm') return buildHvm({ firmware: kernel, ...common });
  const input = { kernel, ...common, ...(cmdline === undefined ? {} : { cmdline }) };
  return type === 'pv' ? buildPv(input) : buildPvh(input);
}

function pick<K extends keyof Request>(request: Request, keys: readonly K[]): Pick<Request, K> {
  return Object.fromEntries(keys.filter((key) => request[key] !== undefined).map((key) => [key, request[key]])) as Pick<
    Request,
    K
  >;
}

/** Puts the file's name in front of what is wrong with it. */
function inFile<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof BadInput)) throw error;
    const message =
      error.code === 'not-elf' ? 'neither a kernel image (ELF or bzImage) nor an xl configuration file' : error.message;
    throw new UsageError(`${path}: ${message}`);
  }
}

/** `--set name=value`, checked against the rules of the machine. */
function ruleOverrides(given: readonly string[], machine: Machine): Record<string, string> {
  const overrides: Record<string, string> = {};
  for (const text of given) {
    const split = text.indexOf('=');
    const name = split < 0 ? text : text.slice(0, split);
    const rule = machine.rules.find((candidate) => candidate.name === name);
    if (rule === undefined)
      throw new UsageError(
        `--set ${text}: there is no rule ${name}; known are ${machine.rules.map((known) => known.name).join(', ')}`,
      );
    const value = split < 0 ? undefined : text.slice(split + 1);
    if (value === undefined || !rule.values.includes(value))
      throw new UsageError(`--set ${text}: the value of ${name} must be one of ${rule.values.join(', ')}`);
    overrides[name] = value;
  }
  return overrides;
}

/** A kernel image, or an xl configuration that names one. */
function readGuest(path: string, host: Host): Request {
  const file = host.readFile(path);
  const isConfig = path.endsWith('.cfg') || looksLikeConfig(file);
  if (!isConfig) return { name: baseName(path), file: path, kernelPath: path, kernelFile: file };
  const config = readConfig(path, new TextDecoder().decode(file));
  const image = imageOf(config, path);
  return { ...config, file: path, kernelPath: image, kernelFile: host.readFile(image) };
}

function imageOf(config: DomainConfig, path: string): string {
  if (config.type === 'hvm') {
    // A kernel may be given in place of firmware, as for direct boot.
    const image = config.firmware ?? config.kernel;
    if (image === undefined)
      throw new UsageError(`${path}: an HVM guest needs firmware_override, the ELF image to start it with`);
    return image;
  }
  if (config.kernel === undefined) throw new UsageError(`${path}: kernel is missing`);
  return config.kernel;
}

/** Text that begins like a setting, a comment or a blank line, and is not an image of any kind. */
function looksLikeConfig(file: Uint8Array): boolean {
  if (file.length === 0 || isElf(file) || isBzImage(file) || compressionOf(file) !== undefined) return false;
  const text = String.fromCharCode(...file.subarray(0, 2048));
  return !text.includes('\0') && /^(?:\s|#[^\n]*\n)*[a-z][._0-9a-z]*[ \t]*\+?=/.test(text);
}

function readModules(request: Request, paths: readonly string[], host: Host): ModuleInput[] {
  const ramdisk = request.ramdisk === undefined || paths.length > 0 ? [] : [request.ramdisk];
  return [...ramdisk, ...paths].map((path) => ({ bytes: host.readFile(path) }));
}

/** `--type`, or what the configuration says, or what the image has an entry for: PVH before PV. */
function chooseType(request: Request, option: GuestType | undefined, kernel: Kernel): GuestType {
  const said = option ?? request.type;
  if (said !== undefined) return said;
  if (kernel.pvhEntry !== undefined) return 'pvh';
  if (hasPvEntry(kernel)) return 'pv';
  throw new UsageError(
    `${request.kernelPath}: no way in: it has neither a PVH entry note (PHYS32_ENTRY, type 18) nor those of a PV kernel (XEN_VERSION, LOADER), and ${describeNotes(kernel.notes)}; an image made to be HVM firmware needs --type hvm`,
  );
}

function checkedUuid(request: Request): string {
  const uuid = request.uuid ?? DEFAULT_UUID;
  if (!/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(uuid))
    throw new UsageError(`${request.file}: uuid = "${uuid}" is not a UUID`);
  return uuid.toLowerCase();
}

const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
