/**
 * Versions are data: a rule is a named behaviour whose value depends on the release; `--set name=value` overrides one.
 * Each rule tells the commit of Xen that changed it; the releases are those whose first version (4.N.0) has the change.
 */
export const VERSIONS = ['4.17', '4.18', '4.19', '4.20', '4.21', '4.22'] as const;
export type Version = (typeof VERSIONS)[number];
export const DEFAULT_VERSION: Version = '4.22';

export interface Rule {
  readonly name: string;
  readonly summary: string;
  /** Abbreviated commits of xen.git, or where a setting comes from. */
  readonly source: string;
  readonly values: readonly string[];
  /** Value of the oldest release, and every release from which on it is another. */
  readonly initial: string;
  readonly changes?: Readonly<Partial<Record<Version, string>>>;
}

const onOff = ['off', 'on'] as const;

export const RULES = [
  {
    name: 'initialise-needs-vcpu-info-hvm',
    summary:
      'VCPUOP_initialise of an HVM vCPU whose vcpu_info is not registered and has no slot (id 32 and up) is EINVAL, as it always is for PV',
    source: '03e484a4f6',
    values: onOff,
    initial: 'on',
    changes: { '4.19': 'off' },
  },
  {
    name: 'vcpu-info-unset',
    summary:
      'an access to such a vcpu_info goes to a dummy page (sink), or stops the domain and names the site (fault: the NULL pointer design)',
    source: 'xen-devel 20240320135720.68894-1-roger.pau@citrix.com',
    values: ['sink', 'fault'],
    initial: 'sink',
  },
  {
    name: 'guest-area-mapping',
    summary:
      'VCPUOP_register_vcpu_info: a second one is EBUSY (before: EINVAL, after the alignment), another vCPU may be up, a frame that may not be written is EACCES, the clock is written at once',
    source: 'eadc288cbb 295514ff75',
    values: onOff,
    initial: 'off',
    changes: { '4.18': 'on' },
  },
  {
    name: 'phys-areas',
    summary: 'VCPUOP_register_runstate_phys_area and _vcpu_time_phys_area exist (else ENOSYS)',
    source: 'd5df44275e 60e544a8c5',
    values: onOff,
    initial: 'off',
    changes: { '4.18': 'on' },
  },
  {
    name: 'phys-area-features',
    summary: 'XENVER_get_features tells of them (bits 18 and 19)',
    source: '48a3fd1432',
    values: onOff,
    initial: 'off',
    changes: { '4.18': 'on' },
  },
  {
    name: 'singleshot-past-etime',
    summary:
      'VCPUOP_set_singleshot_timer honours VCPU_SSHOTTMR_future: a deadline in the past is ETIME (4.17.0 to 4.17.2; later ones ignore the flag and fire)',
    source: '19c6cbd909',
    values: onOff,
    initial: 'off',
  },
  {
    name: 'last-vcpu-down-powers-off',
    summary: 'VCPUOP_down, HLT without interrupts or INIT on the last vCPU that is up powers the domain off (4.11 on)',
    source: 'd3b230fc46',
    values: onOff,
    initial: 'on',
  },
  {
    name: 'pv-context-debug-registers',
    summary:
      'VCPUOP_initialise of PV: high bits of dr6 and dr7 and breakpoints in the range of Xen are EINVAL (before: dropped)',
    source: '15987cb03f dc9d9aa62d',
    values: onOff,
    initial: 'off',
    changes: { '4.18': 'on' },
  },
  {
    name: 'pv32-context-vm86',
    summary: 'VCPUOP_initialise of 32-bit PV: EFLAGS.VM is EINVAL (before: accepted)',
    source: 'dbd936248f',
    values: onOff,
    initial: 'off',
    changes: { '4.22': 'on' },
  },
  {
    name: 'global-virq-handler-only',
    summary:
      'EVTCHNOP_bind_virq of a global VIRQ by a domain that is not its handler is EBUSY (before: bound, never raised)',
    source: 'eba922abdb 980822c5ed',
    values: onOff,
    initial: 'off',
    changes: { '4.21': 'on' },
  },
  {
    name: 'hvm-map-pirq-without-flag',
    summary: 'PHYSDEVOP_map_pirq and _unmap_pirq of HVM guests without pirqs are looked at (before: ENOSYS)',
    source: '035baa203b',
    values: onOff,
    initial: 'off',
    changes: { '4.20': 'on' },
  },
  {
    name: 'hvm-machine-memory-map',
    summary: 'XENMEM_machine_memory_map of HVM guests reaches the permission check: EPERM (before: ENOSYS)',
    source: 'db04be9e7d',
    values: onOff,
    initial: 'off',
    changes: { '4.19': 'on' },
  },
  {
    name: 'platform-parameters-pv-only',
    summary: 'XENVER_platform_parameters answers 0 to HVM guests (before: where the hypervisor begins)',
    source: '273bde319f',
    values: onOff,
    initial: 'off',
    changes: { '4.18': 'on' },
  },
  {
    name: 'msix-write-feature',
    summary: 'XENVER_get_features has bit 20, dm_msix_all_writes',
    source: '64b21662b1',
    values: onOff,
    initial: 'off',
    changes: { '4.19': 'on' },
  },
  {
    name: 'grant-copy-of-nothing',
    summary:
      'GNTTABOP_copy of zero bytes succeeds whatever else it says (before: domains, references and offsets are checked)',
    source: 'a4a790f432',
    values: onOff,
    initial: 'off',
    changes: { '4.19': 'on' },
  },
  {
    name: 'version-varbuf',
    summary: 'XENVER_extraversion2, _capabilities2, _changeset2 and _commandline2 exist (else ENOSYS)',
    source: 'e3bb1b6525',
    values: onOff,
    initial: 'off',
    changes: { '4.20': 'on' },
  },
  {
    name: 'xenoprof',
    summary: 'xenoprof_op exists for PV guests (else ENOSYS)',
    source: '69e8aaf9cc',
    values: onOff,
    initial: 'on',
    changes: { '4.22': 'off' },
  },
  {
    name: 'domctl-interface',
    summary: 'XEN_DOMCTL_INTERFACE_VERSION: a domctl with another one is EACCES',
    source: 'bdb1184d4f 4c733873b5 1afacf7b15',
    values: ['0x15', '0x16', '0x17', '0x18'],
    initial: '0x15',
    changes: { '4.18': '0x16', '4.19': '0x17', '4.22': '0x18' },
  },
  {
    name: 'domctl-stable-get-domain-state',
    summary: 'XEN_DOMCTL_get_domain_state is stable: its interface version is 0',
    source: '3ad3df1bd0',
    values: onOff,
    initial: 'off',
    changes: { '4.21': 'on' },
  },
  {
    name: 'sysctl-interface',
    summary: 'XEN_SYSCTL_INTERFACE_VERSION: a sysctl with another one is EACCES',
    source: '4c3ce492ed',
    values: ['0x15', '0x16'],
    initial: '0x15',
    changes: { '4.21': '0x16' },
  },
  {
    name: 'reported-version',
    summary: 'the release that XENVER_version and CPUID tell the guest',
    source: 'the release itself',
    values: VERSIONS,
    initial: '4.17',
    changes: { '4.18': '4.18', '4.19': '4.19', '4.20': '4.20', '4.21': '4.21', '4.22': '4.22' },
  },
  {
    name: 'guest-console-io',
    summary: 'CONSOLEIO_write is open to the guest (else EPERM)',
    source: 'build and domain setting',
    values: onOff,
    initial: 'off',
  },
  {
    name: 'debug-build',
    summary: 'Xen was built with debug=y: 64-bit PV guests are not told where the hypervisor begins',
    source: 'build setting',
    values: onOff,
    initial: 'off',
  },
] as const satisfies readonly Rule[];

export type RuleName = (typeof RULES)[number]['name'];

const ruleOf = (name: string): Rule | undefined => RULES.find((rule) => rule.name === name);

/** The value a release has without overrides. */
export function defaultValue(rule: Rule, version: Version): string {
  let value = rule.initial;
  for (const release of VERSIONS) {
    value = rule.changes?.[release] ?? value;
    if (release === version) break;
  }
  return value;
}

/** First release in which a rule is on; undefined when it is on in all of them or in none. */
export function firstRelease(name: RuleName): Version | undefined {
  const rule = ruleOf(name) as Rule;
  const first = VERSIONS.find((version) => defaultValue(rule, version) === 'on');
  return first === VERSIONS[0] ? undefined : first;
}

export class Rules {
  readonly version: Version;
  private readonly values = new Map<string, string>();

  /** Throws RangeError for a rule that does not exist and for a value it cannot have. */
  constructor(version: Version = DEFAULT_VERSION, overrides: Readonly<Record<string, string>> = {}) {
    this.version = version;
    for (const rule of RULES) this.values.set(rule.name, defaultValue(rule, version));
    for (const [name, value] of Object.entries(overrides)) {
      const rule = ruleOf(name);
      if (rule === undefined) throw new RangeError(`no rule is called ${name}`);
      if (!rule.values.includes(value)) throw new RangeError(`${name} can be ${rule.values.join(', ')}`);
      this.values.set(name, value);
    }
  }

  /** The value in force. */
  get(name: RuleName): string {
    return this.values.get(name) as string;
  }

  has(name: RuleName): boolean {
    return this.get(name) === 'on';
  }
}
