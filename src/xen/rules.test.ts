/** Every rule shown from the guest's side, through the hypercall table: each value, and which releases have which. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EACCES, EBUSY, EINVAL, ENODEV, ENOSYS, EPERM, ESRCH, ETIME } from '../abi/xen/errno.ts';
import { evtchn_bind_virq } from '../abi/xen/event-channel.ts';
import { GNTST_permission_denied, GNTTABOP_copy, gnttab_copy } from '../abi/xen/grant-table.ts';
import { XENMEM_machine_memory_map } from '../abi/xen/memory.ts';
import { physdev_map_pirq, xen_domctl, xen_sysctl } from '../abi/xen/misc.ts';
import * as v from '../abi/xen/vcpu.ts';
import { vcpu_hvm_x86_64 } from '../abi/xen/vcpu-hvm-context.ts';
import * as version from '../abi/xen/version.ts';
import * as x from '../abi/xen/xen.ts';
import type { Hypercall } from './hypercall.ts';
import { hypercallTable } from './hypercalls/index.ts';
import type { PvDomain } from './pv/pv-domain.ts';
import type { Rule, RuleName, Version } from './rules.ts';
import { DEFAULT_VERSION, defaultValue, RULES, Rules, VERSIONS } from './rules.ts';
import type { TestDomainOptions } from './testing.ts';
import { ARGUMENT, NOWHERE, TestDomain } from './testing.ts';

const hypercalls: readonly Hypercall[] = hypercallTable().all();

type Setting = Pick<TestDomainOptions, 'version' | 'rules'>;
const make = (setting: Setting, config: TestDomainOptions['config'] = {}): TestDomain =>
  new TestDomain({ hypercalls, ...setting, config });

const vcpuOp = (d: TestDomain, op: number, id: number, arg = 0n): unknown =>
  d.raw(x.__HYPERVISOR_vcpu_op, [BigInt(op), BigInt(id), arg]);
const context64 = {
  mode: 1,
  pad: 0,
  ...Object.fromEntries(['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'rflags'].map((r) => [r, 0n])),
  rip: 0x2000n,
  cr0: 0x8000_0011n,
  cr3: 0x3000n,
  cr4: 0x20n,
  efer: 0x100n,
};
const initialise = (d: TestDomain, id: number): unknown =>
  vcpuOp(d, v.VCPUOP_initialise, id, d.put(vcpu_hvm_x86_64, context64 as never));
const register = (d: TestDomain, id: number, mfn: bigint, offset = 0): unknown =>
  vcpuOp(d, v.VCPUOP_register_vcpu_info, id, d.put(v.vcpu_register_vcpu_info, { mfn, offset, rsvd: 0 }));
const features = (d: TestDomain): number => {
  d.put(version.xen_feature_info, { submap_idx: 0, submap: 0 });
  assert.equal(d.raw(x.__HYPERVISOR_xen_version, [BigInt(version.XENVER_get_features), ARGUMENT]), 0);
  return d.get(version.xen_feature_info).submap;
};
const control = (d: TestDomain, number: number, interface_version: number, cmd = 5, domain = 1): unknown => {
  const op = { cmd, interface_version, domain, pad: new Uint8Array(6), u: new Uint8Array(128) };
  d.put((number === x.__HYPERVISOR_domctl ? xen_domctl : xen_sysctl) as never, op as never);
  return d.raw(number, [ARGUMENT]);
};
/** Interface versions that are not refused. */
const accepted = (d: TestDomain, number: number): string =>
  [0x14, 0x15, 0x16, 0x17, 0x18, 0x19]
    .filter((candidate) => control(d, number, candidate) !== -EACCES)
    .map((candidate) => `0x${candidate.toString(16)}`)
    .join();
/** A PV context that is accepted but for what the test puts into it. */
const pvInitialise = (
  setting: Setting,
  type: 'pv64' | 'pv32',
  change: (view: DataView) => void = () => {},
  { register: registered = true } = {},
): unknown => {
  const d = make(setting, { type, maxVcpus: 34 });
  // What follows the checks of a context is not the subject.
  d.domain.pv = { width: type === 'pv32' ? 32 : 64, initialise: () => 0 } as unknown as PvDomain;
  const width = type === 'pv32' ? 'compat' : 'native';
  const raw = new Uint8Array(type === 'pv32' ? 2800 : 5168);
  change(new DataView(raw.buffer));
  d.domain.memory.writePhysical(0x4000, raw);
  if (registered) assert.equal(register(d, 33, 3n), 0);
  return d.raw(x.__HYPERVISOR_vcpu_op, [BigInt(v.VCPUOP_initialise), 33n, 0x4000n], { width });
};
/** What dr6 and dr7 above 32 bits, dr0 and dr3 in Xen's range do. */
const DEBUG: readonly (readonly [n: number, value: bigint])[] = [
  [6, 1n << 32n],
  [7, 1n << 63n],
  [0, 0xffff_8000_0000_0000n],
  [3, 0xffff_87ff_ffff_fff8n],
];

interface Probe {
  /** What the guest sees; compared with `seen` of the value in force. */
  readonly look: (setting: Setting) => unknown;
  readonly seen: Readonly<Record<string, unknown>>;
}

const probes: Readonly<Record<RuleName, Probe>> = {
  'initialise-needs-vcpu-info-hvm': {
    look: (setting) => {
      const d = make(setting, { maxVcpus: 64 });
      const answers = [31, 32, 40, 63].map((id) => initialise(d, id));
      assert.equal(register(d, 33, 5n), 0);
      return [...answers, initialise(d, 33)];
    },
    seen: { on: [0, -EINVAL, -EINVAL, -EINVAL, 0], off: [0, 0, 0, 0, 0] },
  },
  'vcpu-info-unset': {
    look: (setting) => {
      const d = make(setting, { maxVcpus: 33 });
      d.domain.info.setUpcallMask(d.domain.vcpus[32].id, false, 'HLT');
      return d.domain.shutdownState?.message;
    },
    seen: {
      sink: undefined,
      fault: 'vcpu_info of vCPU 32 is not mapped: NULL dereferenced by HLT',
    },
  },
  'guest-area-mapping': {
    look: (setting) => {
      const d = make(setting);
      d.start(1);
      const other = register(d, 1, 3n);
      assert.equal(register(d, 0, 3n, 64), 0);
      const clock = new Uint8Array(4);
      d.domain.memory.readPhysical(0x3000 + 64 + 32, clock);
      return [other, register(d, 0, 4n), register(d, 0, 4n, 4), register(d, 0, 4n, 4096), clock[0] > 0];
    },
    seen: { off: [-EINVAL, -EINVAL, -6, -6, false], on: [0, -EBUSY, -EBUSY, -EINVAL, true] },
  },
  'phys-areas': {
    look: (setting) => {
      const d = make(setting);
      const arg = d.put(v.vcpu_register_phys_area, { addr: 0x5000n });
      return [14, 15].map((op) => vcpuOp(d, op, 0, arg));
    },
    seen: { off: [-ENOSYS, -ENOSYS], on: [0, 0] },
  },
  'phys-area-features': {
    look: (setting) => (features(make(setting)) >> 18) & 3,
    seen: { off: 0, on: 3 },
  },
  'singleshot-past-etime': {
    look: (setting) => {
      const d = make(setting);
      const arm = (timeout_abs_ns: bigint, flags: number): unknown =>
        vcpuOp(d, v.VCPUOP_set_singleshot_timer, 0, d.put(v.vcpu_set_singleshot_timer, { timeout_abs_ns, flags }));
      return [arm(1n, v.VCPU_SSHOTTMR_future), arm(1n, 0), arm(d.domain.now() + 9n, v.VCPU_SSHOTTMR_future)];
    },
    seen: { off: [0, 0, 0], on: [-ETIME, 0, 0] },
  },
  'last-vcpu-down-powers-off': {
    look: (setting) => {
      const d = make(setting);
      assert.equal(vcpuOp(d, v.VCPUOP_down, 0), 0);
      return d.shutdownReason();
    },
    seen: { on: 0, off: undefined },
  },
  'pv-context-debug-registers': {
    look: (setting) =>
      DEBUG.map(([n, value]) => pvInitialise(setting, 'pv64', (c) => c.setBigUint64(5048 + 8 * n, value, true))),
    seen: { off: [0, 0, 0, 0], on: [-EINVAL, -EINVAL, -EINVAL, -EINVAL] },
  },
  'pv32-context-vm86': {
    look: (setting) => [
      pvInitialise(setting, 'pv32', (context) => context.setUint32(556, 1 << 17, true)),
      pvInitialise(setting, 'pv64', (context) => context.setUint32(520 + 144, 1 << 17, true)),
    ],
    seen: { off: [0, 0], on: [-EINVAL, 0] },
  },
  'global-virq-handler-only': {
    look: (setting) => {
      const d = make(setting);
      const bind = (virq: number): unknown =>
        d.raw(x.__HYPERVISOR_event_channel_op, [1n, d.put(evtchn_bind_virq, { virq, vcpu: 0, port: 0 })]);
      return [bind(x.VIRQ_TIMER), bind(3)];
    },
    seen: { off: [0, 0], on: [0, -EBUSY] },
  },
  'hvm-map-pirq-without-flag': {
    look: (setting) => {
      const d = make(setting);
      const map = { domid: x.DOMID_SELF, type: 1, index: 0, pirq: 0, bus: 0, devfn: 0, entry_nr: 0, table_base: 0n };
      return d.raw(x.__HYPERVISOR_physdev_op, [13n, d.put(physdev_map_pirq, map as never)]);
    },
    seen: { off: -ENOSYS, on: -EPERM },
  },
  'hvm-machine-memory-map': {
    look: (setting) => make(setting).raw(x.__HYPERVISOR_memory_op, [BigInt(XENMEM_machine_memory_map), ARGUMENT]),
    seen: { off: -ENOSYS, on: -EPERM },
  },
  'platform-parameters-pv-only': {
    look: (setting) => {
      const d = make(setting);
      return (['native', 'compat'] as const).map((width) => {
        const call = [BigInt(version.XENVER_platform_parameters), ARGUMENT];
        assert.equal(d.raw(x.__HYPERVISOR_xen_version, call, { width }), 0);
        return d.get(version.xen_platform_parameters, ARGUMENT, width).virt_start;
      });
    },
    seen: { off: [0xffff_8000_0000_0000n, 0xffff_ffffn], on: [0n, 0n] },
  },
  'msix-write-feature': { look: (setting) => (features(make(setting)) >> 20) & 1, seen: { off: 0, on: 1 } },
  'grant-copy-of-nothing': {
    look: (setting) => {
      const d = make(setting);
      const side = { u: { gmfn: 5n }, domid: 77, offset: 0 };
      d.put(gnttab_copy, { source: side, dest: side, len: 0, flags: 0, status: 5 } as never);
      assert.equal(d.raw(x.__HYPERVISOR_grant_table_op, [BigInt(GNTTABOP_copy), ARGUMENT, 1n]), 0);
      return d.get(gnttab_copy).status;
    },
    seen: { off: GNTST_permission_denied, on: 0 },
  },
  'version-varbuf': {
    look: (setting) => {
      const d = make(setting);
      return [11, 12, 13, 14].map((op) => Number(d.raw(x.__HYPERVISOR_xen_version, [BigInt(op), 0n])) >= 0);
    },
    seen: { off: [false, false, false, false], on: [true, true, true, false] },
  },
  xenoprof: {
    look: (setting) => {
      const d = make(setting, { type: 'pv64' });
      assert.equal(make(setting).raw(x.__HYPERVISOR_xenoprof_op, [0n]), -ENOSYS, 'never for HVM');
      return [0n, 1n, 18n].map((op) => d.raw(x.__HYPERVISOR_xenoprof_op, [op, NOWHERE]));
    },
    seen: { on: [-ENODEV, -EPERM, -EINVAL], off: [-ENOSYS, -ENOSYS, -ENOSYS] },
  },
  'domctl-interface': {
    look: (setting) => accepted(make(setting), x.__HYPERVISOR_domctl),
    seen: { '0x15': '0x15', '0x16': '0x16', '0x17': '0x17', '0x18': '0x18' },
  },
  'domctl-stable-get-domain-state': {
    look: (setting) => {
      const d = make(setting);
      return [90, 5].map((cmd) => control(d, x.__HYPERVISOR_domctl, 0, cmd, 77));
    },
    seen: { off: [-EACCES, -EACCES], on: [-ESRCH, -EACCES] },
  },
  'sysctl-interface': {
    look: (setting) => accepted(make(setting), x.__HYPERVISOR_sysctl),
    seen: { '0x15': '0x15', '0x16': '0x16' },
  },
  'reported-version': {
    look: (setting) => make(setting).raw(x.__HYPERVISOR_xen_version, [BigInt(version.XENVER_version)]),
    seen: Object.fromEntries(VERSIONS.map((name) => [name, (4 << 16) | Number(name.slice(2))])),
  },
  'guest-console-io': {
    look: (setting) => make(setting).raw(x.__HYPERVISOR_console_io, [0n, 0n, ARGUMENT]),
    seen: { off: -EPERM, on: 0 },
  },
  'debug-build': {
    look: (setting) => {
      const d = make(setting, { type: 'pv64' });
      d.raw(x.__HYPERVISOR_xen_version, [BigInt(version.XENVER_platform_parameters), ARGUMENT]);
      return d.get(version.xen_platform_parameters).virt_start;
    },
    seen: { off: 0xffff_8000_0000_0000n, on: 0n },
  },
};

for (const rule of RULES as readonly Rule[]) {
  const { look, seen } = probes[rule.name as RuleName];
  test(`${rule.name}: the guest sees each value`, () => {
    assert.deepEqual(Object.keys(seen).sort(), [...rule.values].sort());
    for (const value of rule.values)
      assert.deepEqual(look({ rules: { [rule.name]: value } }), seen[value], `${rule.name}=${value}`);
  });
  test(`${rule.name}: each release has the value it is said to have`, () => {
    for (const release of VERSIONS)
      assert.deepEqual(look({ version: release }), seen[defaultValue(rule, release)], `Xen ${release}`);
  });
}

test('rules: values in force, at their first release and the one before', () => {
  const changed: readonly (readonly [RuleName, Version, string, string])[] = [
    ['initialise-needs-vcpu-info-hvm', '4.19', 'on', 'off'],
    ['guest-area-mapping', '4.18', 'off', 'on'],
    ['phys-areas', '4.18', 'off', 'on'],
    ['pv-context-debug-registers', '4.18', 'off', 'on'],
    ['hvm-machine-memory-map', '4.19', 'off', 'on'],
    ['msix-write-feature', '4.19', 'off', 'on'],
    ['grant-copy-of-nothing', '4.19', 'off', 'on'],
    ['hvm-map-pirq-without-flag', '4.20', 'off', 'on'],
    ['version-varbuf', '4.20', 'off', 'on'],
    ['global-virq-handler-only', '4.21', 'off', 'on'],
    ['sysctl-interface', '4.21', '0x15', '0x16'],
    ['xenoprof', '4.22', 'on', 'off'],
    ['pv32-context-vm86', '4.22', 'off', 'on'],
    ['domctl-interface', '4.22', '0x17', '0x18'],
  ];
  for (const [name, release, before, from] of changed) {
    assert.equal(new Rules(release).get(name), from);
    assert.equal(new Rules(VERSIONS[VERSIONS.indexOf(release) - 1]).get(name), before);
  }
  assert.equal(new Rules().version, DEFAULT_VERSION);
});

test('rules: an unknown name or value is refused with what is known', () => {
  assert.throws(() => new Rules('4.19', { nonsense: 'on' }), /no rule is called nonsense/);
  assert.throws(() => new Rules('4.19', { 'phys-areas': 'maybe' }), /phys-areas can be off, on/);
  for (const rule of RULES as readonly Rule[]) {
    for (const release of VERSIONS) assert.ok(rule.values.includes(defaultValue(rule, release)), rule.name);
    assert.match(rule.source, /\S/);
  }
});

test('VCPUOP_initialise of PV: dummy, EFAULT and the context, in this order', () => {
  assert.equal(
    pvInitialise({}, 'pv64', () => {}, { register: false }),
    -EINVAL,
    'the dummy counts on every release',
  );
  assert.equal(pvInitialise({}, 'pv64'), 0);
  const word = (offset: number, value: bigint) => (view: DataView) => view.setBigUint64(offset, value, true);
  for (const offset of [520 + 128, 520 + 152, 4976, 5112, 5120, 5128, 5144, 5152, 5160, 720 + 8, 720 + 255 * 16 + 8])
    assert.equal(pvInitialise({}, 'pv64', word(offset, 1n << 47n)), -EINVAL, `not canonical at ${offset}`);
  assert.equal(pvInitialise({}, 'pv64', word(4816, 0xffff_8000_0000_0000n)), -EINVAL, 'LDT of the hypervisor');
  assert.equal(pvInitialise({}, 'pv64', word(4816, 8n)), -EINVAL, 'LDT not aligned');
  assert.equal(pvInitialise({}, 'pv64', word(4824, 8193n)), -EINVAL, 'LDT too long');
  assert.equal(
    pvInitialise({}, 'pv32', (view) => view.setUint32(2632, 8, true)),
    -EINVAL,
  );
  const d = make({}, { type: 'pv64' });
  assert.equal(vcpuOp(d, v.VCPUOP_initialise, 1, NOWHERE), -14);
});
