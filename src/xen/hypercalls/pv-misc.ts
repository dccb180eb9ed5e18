/** Small hypercalls of PV guests: kernel stack, FPU task switch, segment bases, debug registers. */
import { EINVAL, ENODEV, ENOSYS, EPERM } from '../../abi/xen/errno.ts';
import * as a from '../../abi/xen/misc.ts';
import {
  __HYPERVISOR_fpu_taskswitch,
  __HYPERVISOR_get_debugreg,
  __HYPERVISOR_set_debugreg,
  __HYPERVISOR_set_segment_base,
  __HYPERVISOR_stack_switch,
} from '../../abi/xen/xen.ts';
import * as S from '../../cpu/state.ts';
import type { HypercallContext, Result } from '../hypercall.ts';
import { full, hypercall } from '../hypercall.ts';
import { canonical } from '../pv/address-space.ts';
import { readDebugRegister, type SetResult, setDebugRegister } from '../pv/debug-registers.ts';
import { pvCaller, pvDomain } from '../pv/hypercall-common.ts';
import { fixSelector } from '../pv/pv-vcpu.ts';

/** Selector and stack pointer for entering the kernel; the selector's RPL is raised. Always 0. */
export const stackSwitch = hypercall(
  __HYPERVISOR_stack_switch,
  'xen:public/xen.h#HYPERVISOR_stack_switch',
  full({ guests: 'pv' }, (context) => {
    const pv = pvCaller(context);
    pv.kernelSs = fixSelector(pv.width, Number(context.args[0] & 0xffffn));
    pv.kernelSp = context.args[1];
    return 0;
  }),
);

/** Sets or clears the virtual CR0.TS. Always 0. */
export const fpuTaskswitch = hypercall(
  __HYPERVISOR_fpu_taskswitch,
  'xen:public/xen.h#HYPERVISOR_fpu_taskswitch',
  full({ guests: 'pv' }, (context) => {
    pvDomain(context).setTaskSwitched(pvCaller(context), BigInt.asUintN(32, context.args[0]) !== 0n);
    return 0;
  }),
);

/** Loads the user's GS from the guest's tables. A selector that cannot be loaded gives a null GS; the call does not fail. */
function loadUserGs(context: HypercallContext, given: bigint): void {
  const pv = pvCaller(context);
  const { cpu } = context.vcpu;
  const kernelBase = cpu.get64(S.seg(S.GS));
  const selector = Number(given & 0xffffn);
  if (!cpu.tryLoadSegment(S.GS, selector > 3 ? selector | 3 : selector)) cpu.tryLoadSegment(S.GS, 0);
  pv.gsBaseUser = cpu.get64(S.seg(S.GS));
  cpu.set64(S.KERNEL_GS_BASE, pv.gsBaseUser);
  cpu.set64(S.seg(S.GS), kernelBase);
}

/** ENOSYS: 32-bit guests; EINVAL: not canonical, no such base. */
export const setSegmentBase = hypercall(
  __HYPERVISOR_set_segment_base,
  'xen:public/xen.h#HYPERVISOR_set_segment_base',
  full({ guests: 'pv' }, (context): Result => {
    const pv = pvCaller(context);
    if (pv.width === 32) return -ENOSYS;
    const which = Number(BigInt.asUintN(32, context.args[0]));
    const base = context.args[1];
    if (which === a.SEGBASE_GS_USER_SEL) {
      loadUserGs(context, base);
      return 0;
    }
    if (which > a.SEGBASE_GS_USER_SEL || !canonical(base)) return -EINVAL;
    const { cpu } = context.vcpu;
    if (which === a.SEGBASE_FS) cpu.set64(S.seg(S.FS), base);
    else if (which === a.SEGBASE_GS_KERNEL) cpu.set64(S.seg(S.GS), base);
    else {
      pv.gsBaseUser = base;
      cpu.set64(S.KERNEL_GS_BASE, base);
    }
    return 0;
  }),
);

const DEBUG_ERRORS: Readonly<Record<SetResult, number>> = {
  done: 0,
  absent: -ENODEV,
  invalid: -EINVAL,
  refused: -EPERM,
};

/** ENODEV: no such register; EPERM: a breakpoint in the hypervisor's range, DR7.GD, an I/O breakpoint without CR4.DE; EINVAL: bits 63:32. */
export const setDebugreg = hypercall(
  __HYPERVISOR_set_debugreg,
  'xen:public/xen.h#HYPERVISOR_set_debugreg',
  full({ guests: 'pv' }, (context) => {
    const register = Number(BigInt.asIntN(32, context.args[0]));
    return DEBUG_ERRORS[setDebugRegister(pvCaller(context), register, context.args[1])];
  }),
);

/** The value; ENODEV. */
export const getDebugreg = hypercall(
  __HYPERVISOR_get_debugreg,
  'xen:public/xen.h#HYPERVISOR_get_debugreg',
  full({ guests: 'pv' }, (context) => {
    const register = Number(BigInt.asIntN(32, context.args[0]));
    return readDebugRegister(pvCaller(context), register) ?? -ENODEV;
  }),
);
