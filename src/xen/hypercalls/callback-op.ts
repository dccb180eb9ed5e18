/** Where the hypervisor enters a guest's kernel: callback_op, its older form set_callbacks, and nmi_op. `xen:public/callback.h`, `xen:public/nmi.h` */
import { EFAULT, EINVAL, ENOSYS } from '../../abi/xen/errno.ts';
import * as a from '../../abi/xen/misc.ts';
import { TI_DISABLE_EVENTS } from '../../abi/xen/vcpu-guest-context.ts';
import { __HYPERVISOR_callback_op, __HYPERVISOR_nmi_op, __HYPERVISOR_set_callbacks } from '../../abi/xen/xen.ts';
import type { HypercallContext } from '../hypercall.ts';
import { full, hypercall } from '../hypercall.ts';
import { canonical } from '../pv/address-space.ts';
import { pvCaller } from '../pv/hypercall-common.ts';
import { type CallbackName, fixSelector, type PvVcpu } from '../pv/pv-vcpu.ts';

const NMI = 2;

/** Types by number. SYSCALL from 64-bit code is for 64-bit guests only. */
const NAMES: Readonly<Record<number, CallbackName>> = {
  [a.CALLBACKTYPE_event]: 'event',
  [a.CALLBACKTYPE_failsafe]: 'failsafe',
  [a.CALLBACKTYPE_syscall]: 'syscall',
  [a.CALLBACKTYPE_syscall32]: 'syscall32',
  [a.CALLBACKTYPE_sysenter]: 'sysenter',
};

const nameOf = (pv: PvVcpu, type: number): CallbackName | undefined =>
  type === a.CALLBACKTYPE_syscall && pv.width === 32 ? undefined : NAMES[type];

/** EINVAL: not canonical. The selector is the hypervisor's flat one. */
function registerNmi(pv: PvVcpu, address: bigint): number {
  if (!canonical(address)) return -EINVAL;
  pv.traps.set(NMI, TI_DISABLE_EVENTS, pv.kernelCs, address);
  return 0;
}

function unregisterNmi(pv: PvVcpu): number {
  pv.traps.set(NMI, 0, 0, 0n);
  return 0;
}

/** EINVAL: not canonical; ENOSYS: type. */
function register(pv: PvVcpu, type: number, flags: number, cs: number, address: bigint): number {
  if (!canonical(address)) return -EINVAL;
  if (type === a.CALLBACKTYPE_nmi) return registerNmi(pv, address);
  const name = nameOf(pv, type);
  if (name === undefined) return -ENOSYS;
  pv.callbacks[name] = {
    cs: pv.width === 32 ? fixSelector(32, cs & 0xffff) : 0,
    address,
    masksEvents: (flags & a.CALLBACKF_mask_events) !== 0,
  };
  return 0;
}

/** EFAULT; then as {@link register}. */
function registerOp(context: HypercallContext, _arg: unknown, at: bigint): number {
  const pv = pvCaller(context);
  if (pv.width === 64) {
    const wide = context.copyFromGuest(a.callback_register_64, at);
    return wide === undefined ? -EFAULT : register(pv, wide.type, wide.flags, 0, wide.address.eip);
  }
  const narrow = context.copyFromGuest(a.callback_register_32, at);
  if (narrow === undefined) return -EFAULT;
  return register(pv, narrow.type, narrow.flags, narrow.address.cs, BigInt(narrow.address.eip));
}

/** Unknown commands: ENOSYS for 64-bit callers, EINVAL for 32-bit ones. */
export const callbackOp = hypercall(
  __HYPERVISOR_callback_op,
  'xen:public/callback.h',
  {
    [a.CALLBACKOP_register]: full({ guests: 'pv' }, registerOp),
    /** EFAULT; EINVAL: a type that cannot be taken back; ENOSYS: type. */
    [a.CALLBACKOP_unregister]: full({ guests: 'pv', arg: a.callback_unregister }, (context, { type }) => {
      const pv = pvCaller(context);
      if (type === a.CALLBACKTYPE_nmi) return unregisterNmi(pv);
      return nameOf(pv, type) === undefined ? -ENOSYS : -EINVAL;
    }),
  },
  {
    before: ({ args, width }) =>
      width === 'compat' && BigInt.asUintN(32, args[0]) > BigInt(a.CALLBACKOP_unregister) ? -EINVAL : undefined,
  },
);

/** Addresses of event, failsafe and (64-bit) syscall, or pairs of selector and address of the first two. Always 0; bad ones are passed over. */
export const setCallbacks = hypercall(
  __HYPERVISOR_set_callbacks,
  'xen:public/xen.h#HYPERVISOR_set_callbacks',
  full({ guests: 'pv' }, (context) => {
    const pv = pvCaller(context);
    const { args } = context;
    if (pv.width === 64) {
      register(pv, a.CALLBACKTYPE_event, 0, 0, args[0]);
      register(pv, a.CALLBACKTYPE_failsafe, 0, 0, args[1]);
      register(pv, a.CALLBACKTYPE_syscall, 0, 0, args[2]);
    } else {
      register(pv, a.CALLBACKTYPE_event, 0, Number(args[0]), args[1]);
      register(pv, a.CALLBACKTYPE_failsafe, 0, Number(args[2]), args[3]);
    }
    return 0;
  }),
);

export const nmiOp = hypercall(__HYPERVISOR_nmi_op, 'xen:public/nmi.h', {
  /** EFAULT; EINVAL: not canonical. */
  [a.XENNMI_register_callback]: full({ guests: 'pv', arg: a.xennmi_callback }, (context, { handler_address }) =>
    registerNmi(pvCaller(context), handler_address),
  ),
  [a.XENNMI_unregister_callback]: full({ guests: 'pv' }, (context) => unregisterNmi(pvCaller(context))),
});
