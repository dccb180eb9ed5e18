/** `xen:public/memory.h`: where a PV guest finds the machine-to-physical table, and the frames that hold it. */
import { EFAULT, EINVAL } from '../../abi/xen/errno.ts';
import * as m from '../../abi/xen/memory.ts';
import { ulong } from '../../abi/xen/struct.ts';
import type { Entry, HypercallContext, Result } from '../hypercall.ts';
import { full } from '../hypercall.ts';
import { HYPERVISOR_START, HYPERVISOR_START_32 } from '../pv/address-space.ts';
import { pvOf } from '../pv/mm/hypercall-common.ts';

/** First in the hypervisor's range: the window of 64-bit guests, 256 GiB of 8-byte entries; that of 32-bit guests ends below the top of the address space, 4-byte entries. */
const NATIVE = { v_start: HYPERVISOR_START, v_end: HYPERVISOR_START + (256n << 30n), entry: 8n };
const COMPAT = { v_start: HYPERVISOR_START_32, v_end: 0xffe0_0000n, entry: 4n };
/** The frames are told for each 2 MiB of the table. */
const STEP = 2 << 20;

const startExtent = (context: HypercallContext): bigint => context.args[0] >> BigInt(m.MEMOP_EXTENT_SHIFT);

/** EINVAL: continuation index; EFAULT. */
export const machphysMapping: Entry = full({ guests: 'pv' }, (context, _arg, address) => {
  if (startExtent(context) !== 0n) return -EINVAL;
  const { v_start, v_end, entry } = context.width === 'native' ? NATIVE : COMPAT;
  const mapping = { v_start, v_end, max_mfn: (v_end - v_start) / entry - 1n };
  return context.copyToGuest(m.xen_machphys_mapping, address, mapping) ? 0 : -EFAULT;
});

/** EINVAL: continuation index; EFAULT: argument, list, argument. Where the table has no page the frame before is repeated. */
export const machphysMfnList: Entry = full({ guests: 'pv' }, (context, _arg, address): Result => {
  if (startExtent(context) !== 0n) return -EINVAL;
  const list = context.copyFromGuest(m.xen_machphys_mfn_list, address);
  if (list === undefined) return -EFAULT;
  const frames = pvOf(context).mm.xen.machphysFrames(STEP);
  const count = Math.min(list.max_extents, frames.length);
  for (let i = 0; i < count; i++)
    if (!context.copyToGuest(ulong, context.element(ulong, list.extent_start, i), BigInt(frames[i]))) return -EFAULT;
  return context.copyToGuest(m.xen_machphys_mfn_list, address, { ...list, nr_extents: count }) ? 0 : -EFAULT;
});
