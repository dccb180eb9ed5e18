/**
 * Versions are data: a rule is a named behaviour whose value depends on the release; `--set name=value` overrides one.
 * Each rule tells the commit (or release) that changed it.
 */
export const VERSIONS = ['4.17', '4.18', '4.19', '4.20', '4.21', '4.22'] as const;
export type Version = (typeof VERSIONS)[number];
export const DEFAULT_VERSION: Version = '4.22';

export interface Rule {
  readonly name: string;
  readonly summary: string;
  /** Where the behaviour changed. */
  readonly source: string;
  /** Boolean behaviours: the releases from `since` on have it. */
  readonly since?: Version;
  /** Behaviours that are settings of a domain or of the hypervisor's build, not of a release. */
  readonly value?: string;
  readonly values: readonly string[];
}

const onOff = ['off', 'on'] as const;

export const RULES = [
  {
    name: 'initialise-needs-vcpu-info-hvm',
    summary: 'VCPUOP_initialise of an HVM vCPU whose vcpu_info is the dummy is EINVAL',
    source: '03e484a4f6 removed it in 4.19',
    since: undefined,
    value: 'until-4.18',
    values: ['until-4.18', 'on', 'off'],
  },
  {
    name: 'vcpu-info-unset',
    summary:
      'access to an unregistered vcpu_info of a vCPU >= 32: sink (dummy page) or fault (the NULL pointer design)',
    source: 'xen-devel, March 2024',
    value: 'sink',
    values: ['sink', 'fault'],
  },
  {
    name: 'guest-area-mapping',
    summary:
      'map_guest_area: EBUSY when registered, another running vCPU may be the target, physical runstate and time areas',
    source: 'released in 4.18.0',
    since: '4.18',
    values: onOff,
  },
  {
    name: 'global-virq-handler-only',
    summary: 'EVTCHNOP_bind_virq of a global VIRQ by a domain that is not its handler is EBUSY',
    source: 'released in 4.21',
    since: '4.21',
    values: onOff,
  },
  {
    name: 'hvm-map-pirq-without-flag',
    summary: 'PHYSDEVOP_map_pirq/unmap_pirq reach their handler for HVM guests without the pirq flag',
    source: 'released in 4.20',
    since: '4.20',
    values: onOff,
  },
  {
    name: 'pv-strict-vcpu-context',
    summary: 'VCPUOP_initialise of PV refuses EFLAGS.VM, Xen-range breakpoints and high bits of dr6/dr7',
    source: 'after 4.17',
    since: '4.18',
    values: onOff,
  },
  {
    name: 'guest-console-io',
    summary: 'console_io is open to the guest',
    source: 'build and domain setting',
    value: 'off',
    values: onOff,
  },
  { name: 'debug-build', summary: 'Xen was built with debug=y', source: 'build setting', value: 'off', values: onOff },
] as const satisfies readonly Rule[];

export type RuleName = (typeof RULES)[number]['name'];

export class Rules {
  readonly version: Version;
  private readonly overrides: ReadonlyMap<string, string>;

  constructor(version: Version = DEFAULT_VERSION, overrides: Readonly<Record<string, string>> = {}) {
    this.version = version;
    for (const [name, value] of Object.entries(overrides)) {
      const rule: Rule | undefined = RULES.find((r) => r.name === name);
      if (rule === undefined) throw new RangeError(`no rule is called ${name}`);
      if (!rule.values.includes(value)) throw new RangeError(`${name} can be ${rule.values.join(', ')}`);
    }
    this.overrides = new Map(Object.entries(overrides));
  }

  atLeast(version: Version): boolean {
    return VERSIONS.indexOf(this.version) >= VERSIONS.indexOf(version);
  }

  /** The value in force. */
  get(name: RuleName): string {
    const override = this.overrides.get(name);
    const rule = RULES.find((r) => r.name === name) as Rule;
    const value = override ?? rule.value;
    if (value !== undefined) {
      const until = /^until-(.*)$/.exec(value);
      if (until !== null) return VERSIONS.indexOf(this.version) <= VERSIONS.indexOf(until[1] as Version) ? 'on' : 'off';
      return value;
    }
    return rule.since !== undefined && this.atLeast(rule.since) ? 'on' : 'off';
  }

  has(name: RuleName): boolean {
    return this.get(name) === 'on';
  }
}
