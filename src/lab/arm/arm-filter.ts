/**
 * Arm's vcpu_op beside that of x86: every operation asked of two domains that differ in nothing else. On Arm a handler of its own stands before
 * the common one and passes two operations, so VCPUOP_initialise, whose dummy check the change of 2024 moved, cannot be reached there, and
 * neither can the registration of areas by physical address.
 */

import { resultName } from '../../abi/xen/errno.ts';
import { encode, type Type } from '../../abi/xen/struct.ts';
import * as v from '../../abi/xen/vcpu.ts';
import { vcpu_hvm_x86_64 } from '../../abi/xen/vcpu-hvm-context.ts';
import { __HYPERVISOR_vcpu_op } from '../../abi/xen/xen.ts';
import type { InterpreterModules } from '../../xen/index.ts';
import { HypercallContext, Rules, type Version, XenMachine } from '../../xen/index.ts';
import { operationName } from '../trace/names.ts';

export interface ArmFilterRow {
  readonly operation: string;
  /** Results for a vCPU that exists, and for one that does not; errors by name. */
  readonly x86: string;
  readonly arm: string;
  readonly armNoSuchVcpu: string;
}

const MEMORY = 1 << 20;
/** Guest addresses of the argument, and of the page that areas are registered in. */
const ARGUMENT = 0x1000;
const AREA = 0x2000n;
const UNKNOWN_OPERATION = 16;
const VCPUS = 2;

/** Arguments that a domain without a filter accepts. */
function argumentOf(operation: number): Uint8Array {
  const bytes = <T>(type: Type<T>, value: T): Uint8Array => encode(type, value, 'native');
  switch (operation) {
    case v.VCPUOP_initialise:
      return bytes(vcpu_hvm_x86_64, {
        mode: 1,
        pad: 0,
        rax: 0n,
        rcx: 0n,
        rdx: 0n,
        rbx: 0n,
        rsp: 0n,
        rbp: 0n,
        rsi: 0n,
        rdi: 0n,
        rip: 0x3000n,
        rflags: 0n,
        cr0: 0x8000_0011n,
        cr3: 0x4000n,
        cr4: 0x20n,
        efer: 0x100n,
      });
    case v.VCPUOP_set_periodic_timer:
      return bytes(v.vcpu_set_periodic_timer, { period_ns: 10_000_000n });
    case v.VCPUOP_set_singleshot_timer:
      return bytes(v.vcpu_set_singleshot_timer, { timeout_abs_ns: 1n << 40n, flags: 0 });
    case v.VCPUOP_register_vcpu_info:
      return bytes(v.vcpu_register_vcpu_info, { mfn: AREA >> 12n, offset: 0, rsvd: 0 });
    case v.VCPUOP_register_runstate_phys_area:
    case v.VCPUOP_register_vcpu_time_phys_area:
      return bytes(v.vcpu_register_phys_area, { addr: AREA + 0x100n });
    default:
      return bytes(v.vcpu_register_area, { addr: AREA + 0x200n });
  }
}

/** Operations that take no argument, or none but NULL. */
const WITHOUT_ARGUMENT: ReadonlySet<number> = new Set([v.VCPUOP_send_nmi]);
/** Operations a vCPU may only ask for itself. */
const ON_SELF: ReadonlySet<number> = new Set([v.VCPUOP_set_singleshot_timer, v.VCPUOP_stop_singleshot_timer]);

/** The machine is never run: its first vCPU only asks. */
class Caller {
  private readonly machine: XenMachine;

  constructor(vcpuOps: 'x86' | 'arm', xen: Version, interpreter: InterpreterModules | undefined) {
    this.machine = new XenMachine({
      type: 'pvh',
      maxVcpus: VCPUS,
      maxMemory: MEMORY,
      rules: new Rules(xen),
      vcpuOps,
      codeBytes: 1 << 20,
      ...(interpreter === undefined ? {} : { interpreter }),
    });
    for (let page = 0; page < 8; page++) this.machine.domain.p2m.populate(page);
    this.machine.memory.onRemap();
    // Up, as the tool stack leaves it: otherwise taking the other one down would power the domain off.
    const [first] = this.machine.domain.vcpus;
    first!.isInitialised = true;
    first!.pauseFlags = 0;
  }

  ask(operation: number, id: number): string {
    const { memory, domain, table } = this.machine;
    memory.writePhysical(ARGUMENT, argumentOf(operation));
    const pointer = WITHOUT_ARGUMENT.has(operation) ? 0n : BigInt(ARGUMENT);
    const args = [BigInt(operation), BigInt(id), pointer, 0n, 0n];
    const result = table.dispatch(new HypercallContext(domain.vcpus[0]!, 'native', __HYPERVISOR_vcpu_op, args));
    return typeof result === 'object' ? result.kind : resultName(result);
  }
}

export interface ArmFilterOptions {
  readonly xen?: Version;
  readonly interpreter?: InterpreterModules | undefined;
}

/** One row for each operation of the header and one for a number that none has. */
export function experimentArmFilter({ xen = '4.22', interpreter }: ArmFilterOptions = {}): ArmFilterRow[] {
  const x86 = new Caller('x86', xen, interpreter);
  const arm = new Caller('arm', xen, interpreter);
  return Array.from({ length: UNKNOWN_OPERATION + 1 }, (_, operation) => {
    const id = ON_SELF.has(operation) ? 0 : 1;
    return {
      operation: operation === UNKNOWN_OPERATION ? String(operation) : operationName(__HYPERVISOR_vcpu_op, operation),
      x86: x86.ask(operation, id),
      arm: arm.ask(operation, id),
      armNoSuchVcpu: arm.ask(operation, VCPUS),
    };
  });
}
