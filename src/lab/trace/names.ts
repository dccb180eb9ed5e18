/**
 * How hypercalls and their operations are called, and which arguments they take. Names come from the headers' constants, so there is no second list
 * of them; only the shapes are written down here.
 */
import * as eventChannel from '../../abi/xen/event-channel.ts';
import * as grantTable from '../../abi/xen/grant-table.ts';
import * as hvm from '../../abi/xen/hvm.ts';
import * as memory from '../../abi/xen/memory.ts';
import * as misc from '../../abi/xen/misc.ts';
import * as sched from '../../abi/xen/sched.ts';
import * as vcpu from '../../abi/xen/vcpu.ts';
import * as version from '../../abi/xen/version.ts';
import * as xen from '../../abi/xen/xen.ts';

/** One letter per argument: `c` the operation, `v` a value, `p` a pointer. */
interface Shape {
  readonly args: string;
  /** What the names of operations begin with. */
  readonly prefix?: string;
}

/** By name without `__HYPERVISOR_`. What is not here takes five values. `xen:public/xen.h` */
const SHAPES: Readonly<Record<string, Shape>> = {
  memory_op: { args: 'cp', prefix: 'XENMEM_' },
  multicall: { args: 'pv' },
  set_timer_op: { args: 'v' },
  xen_version: { args: 'cp', prefix: 'XENVER_' },
  console_io: { args: 'cvp', prefix: 'CONSOLEIO_' },
  grant_table_op: { args: 'cpv', prefix: 'GNTTABOP_' },
  vm_assist: { args: 'cv', prefix: 'VMASST_CMD_' },
  vcpu_op: { args: 'cvp', prefix: 'VCPUOP_' },
  mmuext_op: { args: 'pvpv', prefix: 'MMUEXT_' },
  sched_op: { args: 'cp', prefix: 'SCHEDOP_' },
  event_channel_op: { args: 'cp', prefix: 'EVTCHNOP_' },
  physdev_op: { args: 'cp', prefix: 'PHYSDEVOP_' },
  hvm_op: { args: 'cp', prefix: 'HVMOP_' },
  platform_op: { args: 'p' },
  sysctl: { args: 'p' },
  domctl: { args: 'p' },
  xsm_op: { args: 'p' },
  kexec_op: { args: 'cp' },
  xenoprof_op: { args: 'cp' },
  argo_op: { args: 'cppvv' },
  xenpmu_op: { args: 'cp' },
  dm_op: { args: 'vvp' },
  hypfs_op: { args: 'cpvpv' },
  callback_op: { args: 'cp' },
};
const UNKNOWN: Shape = { args: 'vvvvv' };

const numbers = (module: Readonly<Record<string, unknown>>): [string, number][] =>
  Object.entries(module).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
const CONSTANTS = [eventChannel, grantTable, hvm, memory, misc, sched, vcpu, version, xen].flatMap(numbers);

const NUMBER_PREFIX = '__HYPERVISOR_';
const CALLS = new Map(
  CONSTANTS.filter(([name]) => name.startsWith(NUMBER_PREFIX)).map(([name, value]) => [
    value,
    name.slice(NUMBER_PREFIX.length),
  ]),
);

/** Name of a hypercall, such as `vcpu_op`; its number when there is none. */
export const hypercallName = (number: number): string => CALLS.get(number) ?? `hypercall ${number}`;

/** Name of an operation, such as `VCPUOP_up`; its number when there is none. */
export function operationName(number: number, operation: number): string {
  const prefix = SHAPES[hypercallName(number)]?.prefix;
  const found = prefix && CONSTANTS.find(([name, value]) => value === operation && name.startsWith(prefix));
  return found ? found[0] : String(operation);
}

/** The arguments a hypercall takes. */
export const argumentShape = (number: number): string => (SHAPES[hypercallName(number)] ?? UNKNOWN).args;
