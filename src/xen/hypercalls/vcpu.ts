/**
 * vcpu_op. The vCPU id is resolved before anything else (ENOENT); only the low 32 bits of operation and id count; unknown operations are ENOSYS.
 * `xen:public/vcpu.h`
 */
import { EEXIST, EFAULT, EINVAL, ENOENT, ETIME } from '../../abi/xen/errno.ts';
import {
  VCPU_SSHOTTMR_future,
  VCPUOP_down,
  VCPUOP_get_physid,
  VCPUOP_get_runstate_info,
  VCPUOP_initialise,
  VCPUOP_is_up,
  VCPUOP_register_runstate_memory_area,
  VCPUOP_register_runstate_phys_area,
  VCPUOP_register_vcpu_info,
  VCPUOP_register_vcpu_time_memory_area,
  VCPUOP_register_vcpu_time_phys_area,
  VCPUOP_send_nmi,
  VCPUOP_set_periodic_timer,
  VCPUOP_set_singleshot_timer,
  VCPUOP_stop_periodic_timer,
  VCPUOP_stop_singleshot_timer,
  VCPUOP_up,
  vcpu_register_area,
  vcpu_register_phys_area,
  vcpu_register_vcpu_info,
  vcpu_runstate_info,
  vcpu_set_periodic_timer,
  vcpu_set_singleshot_timer,
} from '../../abi/xen/vcpu.ts';
import { VCPU_HVM_CONTEXT_SIZE } from '../../abi/xen/vcpu-hvm-context.ts';
import { __HYPERVISOR_vcpu_op } from '../../abi/xen/xen.ts';
import type { HypercallContext, Result } from '../hypercall.ts';
import { absent, again, full, hypercall } from '../hypercall.ts';
import { HYPERVISOR_END, HYPERVISOR_START, HYPERVISOR_START_32, LOWER_END } from '../pv/address-space.ts';
import { pvDomain } from '../pv/hypercall-common.ts';
import { runstateOf } from '../run-state.ts';
import type { Vcpu } from '../vcpu.ts';
import { downVcpu, upVcpu } from '../vcpu-state.ts';
import { initialiseHvm } from './vcpu-initialise-hvm.ts';
import { checkPvContext, VCPU_GUEST_CONTEXT_SIZE } from './vcpu-initialise-pv.ts';

const MILLISECOND = 1_000_000n;
/** Longest period of a timer, ns. */
const STIME_DELTA_MAX = (1n << 62n) - 1n;

/** The vCPU an operation names; {@link hypercall}'s first check made sure it exists. */
const target = ({ domain, args }: HypercallContext): Vcpu => domain.vcpus[Number(BigInt.asUintN(32, args[1]))];

/** EINVAL: vcpu_info is the dummy (PV; HVM until 4.18); EFAULT; EEXIST: initialised; then the context's own errors. */
function initialise(context: HypercallContext, _arg: unknown, address: bigint): Result {
  const vcpu = target(context);
  const { domain } = context;
  const needsInfo = !domain.isHvm || domain.rules.has('initialise-needs-vcpu-info-hvm');
  if (needsInfo && domain.info.vcpuInfoArea(vcpu.id).kind === 'unset') return -EINVAL;
  const size = domain.isHvm ? VCPU_HVM_CONTEXT_SIZE : VCPU_GUEST_CONTEXT_SIZE[context.width];
  const raw = context.readBytes(address, size);
  if (raw === undefined) return -EFAULT;
  if (vcpu.isInitialised) return -EEXIST;
  if (domain.isHvm) return initialiseHvm(vcpu, raw, domain.controlBits);
  const checked = checkPvContext(domain.rules, context.width, raw);
  if (checked !== 0) return checked;
  const result = pvDomain(context).initialise(vcpu, raw, context.vcpu);
  return result === 'again' ? again() : result;
}

/** PV guests may not name addresses in the hypervisor's range; the whole structure is checked. HVM addresses are checked when used. */
function handleOkay({ domain, width }: HypercallContext, address: bigint, size: number): boolean {
  if (domain.isHvm) return true;
  const end = address + BigInt(size) - 1n;
  if (width === 'compat') return end < HYPERVISOR_START_32;
  return (address < LOWER_END && end < HYPERVISOR_START) || (address >= HYPERVISOR_END && end < 1n << 64n);
}

/** EFAULT: argument, address range. Stored and written once. */
function registerRunstate(context: HypercallContext, { addr }: { addr: bigint }): Result {
  if (!handleOkay(context, addr, vcpu_runstate_info.size(context.width))) return -EFAULT;
  context.domain.info.runstate.registerVirtual(target(context), context.vcpu, { address: addr, layout: context.width });
  return 0;
}

/** EFAULT: argument, address range. Stored; the clock is written. */
function registerTime(context: HypercallContext, { addr }: { addr: bigint }): Result {
  if (!handleOkay(context, addr, 32)) return -EFAULT;
  context.domain.info.time.registerVirtual(target(context), addr);
  return 0;
}

/**
 * EINVAL: another vCPU (32-bit callers get EFAULT first); EFAULT; ETIME: a deadline in the past that the caller flagged, in early 4.17. Other
 * deadlines in the past fire at once.
 */
function setSingleshot(context: HypercallContext, _arg: unknown, address: bigint): Result {
  const { vcpu, domain } = context;
  const early = context.width === 'compat' ? context.copyFromGuest(vcpu_set_singleshot_timer, address) : undefined;
  if (context.width === 'compat' && early === undefined) return -EFAULT;
  if (target(context) !== vcpu) return -EINVAL;
  const set = early ?? context.copyFromGuest(vcpu_set_singleshot_timer, address);
  if (set === undefined) return -EFAULT;
  const past = set.timeout_abs_ns < domain.now();
  if (past && (set.flags & VCPU_SSHOTTMR_future) !== 0 && domain.rules.has('singleshot-past-etime')) return -ETIME;
  if (past) {
    vcpu.timers.stopSingleshot();
    vcpu.timers.raise();
  } else vcpu.timers.setSingleshot(set.timeout_abs_ns);
  return 0;
}

/** What Arm's vcpu_op passes on. There a vCPU is brought up by PSCI, and there is nothing to initialise it with. */
const ARM_OPERATIONS: ReadonlySet<number> = new Set([VCPUOP_register_vcpu_info, VCPUOP_register_runstate_memory_area]);

/** ENOENT: no such vCPU. Arm: EINVAL for everything but two operations, known or not. */
function admit({ domain, args }: HypercallContext): Result | undefined {
  if (Number(BigInt.asUintN(32, args[1])) >= domain.vcpus.length) return -ENOENT;
  const refused = domain.config.vcpuOps === 'arm' && !ARM_OPERATIONS.has(Number(BigInt.asUintN(32, args[0])));
  return refused ? -EINVAL : undefined;
}

const guests = 'all';
const rule = 'phys-areas';

export const vcpuOp = hypercall(
  __HYPERVISOR_vcpu_op,
  'xen:public/vcpu.h',
  {
    [VCPUOP_initialise]: full({ guests }, initialise),
    [VCPUOP_up]: full({ guests }, (context) => upVcpu(target(context))),
    [VCPUOP_down]: full({ guests }, (context) => {
      downVcpu(target(context));
      return 0;
    }),
    [VCPUOP_is_up]: full({ guests }, (context) => (target(context).isOnline ? 1 : 0)),
    [VCPUOP_get_runstate_info]: full({ guests }, (context, _arg, address) =>
      context.copyToGuest(vcpu_runstate_info, address, runstateOf(target(context))) ? 0 : -EFAULT,
    ),
    [VCPUOP_register_runstate_memory_area]: full({ guests, arg: vcpu_register_area }, registerRunstate),
    [VCPUOP_set_periodic_timer]: full({ guests, arg: vcpu_set_periodic_timer }, (context, { period_ns }) => {
      if (period_ns < MILLISECOND || period_ns > STIME_DELTA_MAX) return -EINVAL;
      target(context).timers.setPeriodic(period_ns);
      return 0;
    }),
    [VCPUOP_stop_periodic_timer]: full({ guests }, (context) => {
      target(context).timers.setPeriodic(0n);
      return 0;
    }),
    [VCPUOP_set_singleshot_timer]: full({ guests }, setSingleshot),
    [VCPUOP_stop_singleshot_timer]: full({ guests }, (context) => {
      if (target(context) !== context.vcpu) return -EINVAL;
      context.vcpu.timers.stopSingleshot();
      return 0;
    }),
    [VCPUOP_register_vcpu_info]: full({ guests, arg: vcpu_register_vcpu_info }, (context, { mfn, offset }) => {
      const vcpu = target(context);
      return context.domain.info.registerVcpuInfo(vcpu, vcpu === context.vcpu, mfn, offset);
    }),
    [VCPUOP_send_nmi]: full({ guests }, (context, _arg, address) => {
      if (address !== 0n) return -EINVAL;
      target(context).sendNmi();
      return 0;
    }),
    [VCPUOP_get_physid]: absent('only for pinned vCPUs of the hardware domain', EINVAL),
    [VCPUOP_register_vcpu_time_memory_area]: full({ guests, arg: vcpu_register_area }, registerTime),
    [VCPUOP_register_runstate_phys_area]: full({ guests, rule, arg: vcpu_register_phys_area }, (context, { addr }) => {
      const vcpu = target(context);
      return context.domain.info.runstate.registerPhysical(vcpu, vcpu === context.vcpu, addr, context.width);
    }),
    [VCPUOP_register_vcpu_time_phys_area]: full({ guests, rule, arg: vcpu_register_phys_area }, (context, { addr }) =>
      context.domain.info.time.registerPhysical(target(context), addr),
    ),
  },
  {
    pointer: 2,
    before: admit,
  },
);
