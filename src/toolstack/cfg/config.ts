/** From settings of an xl configuration file to a domain's configuration (`xen:man/xl.cfg.5`). */
import { BadInput } from '../bad-input.ts';
import { FIXED, type KnownKey, READ, type Reader, UNSUPPORTED, WITHOUT_EFFECT } from './keys.ts';
import { at, type CfgSetting, type CfgValue, parseCfg } from './parse.ts';

export const ACTIONS = [
  'destroy',
  'restart',
  'rename-restart',
  'preserve',
  'coredump-destroy',
  'coredump-restart',
  'soft-reset',
] as const;
export type Action = (typeof ACTIONS)[number];
export type GuestType = 'pv' | 'pvh' | 'hvm';

export interface DomainConfig {
  readonly name: string;
  readonly type: GuestType;
  /** As written; not checked. */
  readonly uuid?: string;
  /** Paths are as written, relative to the current directory as for xl. */
  readonly kernel?: string;
  /** `firmware_override`: an ELF image that takes the place of hvmloader. */
  readonly firmware?: string;
  readonly ramdisk?: string;
  readonly cmdline?: string;
  readonly memoryMib: number;
  readonly maxMemoryMib: number;
  readonly vcpus: number;
  readonly maxVcpus: number;
  readonly viridian: readonly string[];
  readonly cpuid: readonly string[];
  readonly maxEventChannels?: number;
  readonly maxGrantFrames?: number;
  readonly maxGrantVersion?: number;
  readonly maxMaptrackFrames?: number;
  /** `hvm_pirq`. */
  readonly pirqs?: boolean;
  /** What follows SHUTDOWN_soft_reset; after any other shutdown the guest is gone. */
  readonly onSoftReset: Action;
  /** One line each, with file and line number. */
  readonly warnings: readonly string[];
}

interface ValueOf {
  string: string;
  number: number;
  boolean: boolean;
  strings: readonly string[];
  action: Action;
  viridian: readonly string[];
  cpuid: readonly string[];
}
type Values = { -readonly [K in KnownKey]?: ValueOf[(typeof READ)[K]] };

/** What xl gives a guest whose file does not say. */
const DEFAULT_MEMORY_MIB = 32;

/** Reads a configuration. Throws {@link BadInput}: `xlcfg-syntax`, then `xlcfg-value`, each with file, line and column. */
export function readConfig(file: string, source: string): DomainConfig {
  const settings = parseCfg(file, source);
  const place = new Map(settings.map((setting) => [setting.name, setting]));
  const { values, warnings } = interpret(file, settings);
  const bad = (key: KnownKey, message: string): never => {
    const setting = place.get(key);
    throw new BadInput('xlcfg-value', setting ? at(file, setting.value, message) : `${file}: ${message}`);
  };

  const type = guestType(values, bad);
  if (values.name === undefined) bad('name', 'name is missing');
  const vcpus = values.vcpus ?? 1;
  const maxVcpus = values.maxvcpus ?? vcpus;
  if (maxVcpus < vcpus) bad('maxvcpus', `maxvcpus = ${maxVcpus} is less than vcpus = ${vcpus}`);
  const memoryMib = values.memory ?? values.maxmem ?? DEFAULT_MEMORY_MIB;
  const maxMemoryMib = values.maxmem ?? memoryMib;
  if (maxMemoryMib < memoryMib) bad('maxmem', `maxmem = ${maxMemoryMib} is less than memory = ${memoryMib}`);

  return {
    name: values.name!,
    type,
    ...given('uuid', values.uuid),
    ...given('kernel', values.kernel),
    ...given('firmware', values.firmware_override),
    ...given('ramdisk', values.ramdisk),
    ...given('cmdline', commandLine(values, warnings, file, place)),
    memoryMib,
    maxMemoryMib,
    vcpus,
    maxVcpus,
    viridian: values.viridian ?? [],
    cpuid: values.cpuid ?? [],
    ...given('maxEventChannels', values.max_event_channels),
    ...given('maxGrantFrames', values.max_grant_frames),
    ...given('maxGrantVersion', values.max_grant_version),
    ...given('maxMaptrackFrames', values.max_maptrack_frames),
    ...given('pirqs', values.hvm_pirq),
    onSoftReset: values.on_soft_reset ?? 'soft-reset',
    warnings,
  };
}

const given = <K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } =>
  value === undefined ? {} : ({ [key]: value } as { readonly [P in K]?: V });

type Bad = (key: KnownKey, message: string) => never;

/** `type` decides; `builder` is its older form and is overruled by it. Without either a guest is PV. */
function guestType(values: Values, bad: Bad): GuestType {
  const { type, builder } = values;
  if (type !== undefined) {
    if (type === 'pv' || type === 'pvh' || type === 'hvm') return type;
    bad('type', `type = "${type}" is none of pv, pvh, hvm`);
  }
  if (builder === undefined || builder === 'generic' || builder === 'linux' || builder === 'pv') return 'pv';
  if (builder === 'hvm' || builder === 'pvh') return builder;
  return bad('builder', `builder = "${builder}" is neither generic nor hvm`);
}

/** `cmdline`, or what `root` and `extra` make of one. */
function commandLine(
  values: Values,
  warnings: string[],
  file: string,
  place: ReadonlyMap<string, CfgSetting>,
): string | undefined {
  const { cmdline, root, extra } = values;
  if (cmdline === undefined) {
    const parts = [root === undefined ? undefined : `root=${root}`, extra].filter((part) => part !== undefined);
    return parts.length === 0 ? undefined : parts.join(' ');
  }
  for (const key of ['root', 'extra']) {
    const setting = place.get(key);
    if (setting) warnings.push(at(file, setting, `${key} is ignored in favour of cmdline`));
  }
  return cmdline;
}

function interpret(file: string, settings: readonly CfgSetting[]): { values: Values; warnings: string[] } {
  const values: Record<string, unknown> = {};
  const warnings: string[] = [];
  for (const setting of settings) {
    const { name, value } = setting;
    if (Object.hasOwn(READ, name)) {
      const reader: Reader = READ[name as KnownKey];
      values[name] = READERS[reader](value, (message) => {
        throw new BadInput('xlcfg-value', at(file, value, `${name}: ${message}`));
      });
      const fixed = FIXED[name as KnownKey];
      if (fixed !== undefined && fixed !== values[name] && !(Array.isArray(fixed) && fixed.includes(values[name])))
        warnings.push(at(file, value, `${name} cannot be changed here; the setting is ignored`));
    } else if (UNSUPPORTED.has(name)) {
      if (value.kind !== 'list' || value.items.length > 0)
        warnings.push(at(file, setting, `${name} is not supported and is ignored`));
    } else if (!WITHOUT_EFFECT.has(name)) {
      warnings.push(at(file, setting, `unknown setting ${name} is ignored`));
    }
  }
  return { values: values as Values, warnings };
}

type Fail = (message: string) => never;

const readText = (value: CfgValue, fail: Fail): string =>
  value.kind === 'list' ? fail('expected a string, found a list') : value.text;

function readNumber(value: CfgValue, fail: Fail): number {
  const text = readText(value, fail);
  if (/^0x[0-9a-f]+$/i.test(text)) return Number.parseInt(text, 16);
  if (/^0[0-7]+$/.test(text)) return Number.parseInt(text, 8);
  if (/^(?:0|[1-9][0-9]*)$/.test(text)) return Number.parseInt(text, 10);
  return fail(`${JSON.stringify(text)} is not a number`);
}

const readStrings = (value: CfgValue, fail: Fail): readonly string[] =>
  value.kind === 'list' ? value.items.map((item) => readText(item, fail)) : [value.text];

const READERS: { readonly [R in Reader]: (value: CfgValue, fail: Fail) => ValueOf[R] } = {
  string: readText,
  number: readNumber,
  boolean: (value, fail) => readNumber(value, fail) !== 0,
  strings: readStrings,
  action: (value, fail) => {
    const text = readText(value, fail);
    return (
      ACTIONS.find((action) => action === text) ?? fail(`${JSON.stringify(text)} is none of ${ACTIONS.join(', ')}`)
    );
  },
  // A truth value stands for the default groups.
  viridian: (value, fail) => {
    if (value.kind === 'list') return readStrings(value, fail);
    return readNumber(value, fail) !== 0 ? ['defaults'] : [];
  },
  cpuid: readStrings,
};
