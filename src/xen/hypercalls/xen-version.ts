/** `xen:public/version.h`: xen_version. Text is padded with zeros to the end of its buffer, so nothing of the hypervisor leaks. */
import { EFAULT, EINVAL, ENOBUFS, EPERM } from '../../abi/xen/errno.ts';
import type { Layout } from '../../abi/xen/struct.ts';
import { encode } from '../../abi/xen/struct.ts';
import * as v from '../../abi/xen/version.ts';
import { __HYPERVISOR_xen_version } from '../../abi/xen/xen.ts';
import type { Domain } from '../domain.ts';
import type { Entry, HypercallContext, Result } from '../hypercall.ts';
import { full, hypercall } from '../hypercall.ts';
import { HYPERVISOR_START_32 } from '../pv/address-space.ts';

const VMASST_TYPE_pae_extended_cr3 = 3n;
/** Hypervisor ranges that PV guests are told about. */
const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
/** What 32-bit HVM callers were told until 4.17: no such range. */
const NO_COMPAT_START = 0xffff_ffffn;
const DENIED = '<denied>';

/** Text to zero-padded bytes. */
export function text(value: string, length: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(length);
  for (let i = 0; i < Math.min(value.length, length - 1); i++) out[i] = value.charCodeAt(i);
  return out;
}

/** EFAULT. */
const answerText = (length: number, value: (domain: Domain) => string): Entry =>
  full({ guests: 'all' }, (context, _arg, address) =>
    context.writeBytes(address, text(value(context.domain), length)) ? 0 : -EFAULT,
  );

const capabilities = (): string => 'xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ';

export const releaseNumber = (domain: Domain): number => {
  const [major, minor] = domain.rules.get('reported-version').split('.');
  return (Number(major) << 16) | Number(minor);
};

function features({ domain }: HypercallContext): number {
  const bits: number[] = [v.XENFEAT_memory_op_vnode_supported];
  if (domain.rules.has('phys-area-features')) bits.push(v.XENFEAT_runstate_phys_area, v.XENFEAT_vcpu_time_phys_area);
  if (domain.rules.has('msix-write-feature')) bits.push(v.XENFEAT_dm_msix_all_writes);
  if (((domain.vmAssist >> VMASST_TYPE_pae_extended_cr3) & 1n) !== 0n) bits.push(v.XENFEAT_pae_pgdir_above_4gb);
  if (domain.isHvm) {
    bits.push(v.XENFEAT_writable_page_tables, v.XENFEAT_auto_translated_physmap, v.XENFEAT_hvm_safe_pvclock);
    bits.push(v.XENFEAT_hvm_callback_vector, v.XENFEAT_not_direct_mapped);
    if (domain.config.pirqs) bits.push(v.XENFEAT_hvm_pirqs);
  } else {
    bits.push(
      v.XENFEAT_mmu_pt_update_preserve_ad,
      v.XENFEAT_highmem_assist,
      v.XENFEAT_gnttab_map_avail_bits,
      v.XENFEAT_direct_mapped,
    );
  }
  return bits.reduce((map, bit) => map | (1 << bit), 0) >>> 0;
}

function virtStart({ domain, width }: HypercallContext): bigint {
  const told = !domain.rules.has('platform-parameters-pv-only');
  if (domain.isHvm) return told ? (width === 'compat' ? NO_COMPAT_START : HYPERVISOR_VIRT_START) : 0n;
  if (width === 'compat') return HYPERVISOR_START_32;
  if (told) return HYPERVISOR_VIRT_START;
  return domain.rules.has('debug-build') ? 0n : HYPERVISOR_VIRT_START;
}

const compileInfo = (layout: Layout): Uint8Array =>
  encode(
    v.xen_compile_info,
    {
      compiler: text('xenolith', 64),
      compile_by: text('xenolith', 16),
      compile_domain: text('', 32),
      compile_date: text('', 32),
    },
    layout,
  );

const privileged = (): Entry => full({ guests: 'all' }, () => -EPERM);

/** Variable-length forms: EFAULT reading the length; the length needed for a NULL argument; ENOBUFS: too small; EFAULT. */
function varbuf(value: (domain: Domain) => string): Entry {
  return full({ guests: 'all', rule: 'version-varbuf' }, (context, _arg, address): Result => {
    const content = text(value(context.domain), value(context.domain).length + 1).subarray(0, -1);
    if (address === 0n) return content.length;
    const header = context.copyFromGuest(v.xen_varbuf, address);
    if (header === undefined) return -EFAULT;
    if (header.len < content.length) return -ENOBUFS;
    return context.writeBytes(address + 4n, content) ? content.length : -EFAULT;
  });
}

export const xenVersion = hypercall(__HYPERVISOR_xen_version, 'xen:public/version.h', {
  [v.XENVER_version]: full({ guests: 'all' }, ({ domain }) => releaseNumber(domain)),
  [v.XENVER_extraversion]: answerText(16, () => '.0'),
  [v.XENVER_compile_info]: full({ guests: 'all' }, (context, _arg, address) =>
    context.writeBytes(address, compileInfo(context.width)) ? 0 : -EFAULT,
  ),
  [v.XENVER_capabilities]: answerText(1024, capabilities),
  [v.XENVER_changeset]: answerText(64, () => 'unavailable'),
  /** EFAULT. */
  [v.XENVER_platform_parameters]: full({ guests: 'all' }, (context, _arg, address) =>
    context.copyToGuest(v.xen_platform_parameters, address, { virt_start: virtStart(context) }) ? 0 : -EFAULT,
  ),
  /** EFAULT; EINVAL: only word 0 exists; EFAULT. */
  [v.XENVER_get_features]: full({ guests: 'all', arg: v.xen_feature_info, out: true }, (context, info) => {
    if (info.submap_idx !== 0) return -EINVAL;
    info.submap = features(context);
    return 0;
  }),
  /** EINVAL: the argument is not NULL. */
  [v.XENVER_pagesize]: full({ guests: 'all' }, (_context, _arg, address) => (address === 0n ? 4096 : -EINVAL)),
  /** EFAULT. */
  [v.XENVER_guest_handle]: full({ guests: 'all' }, (context, _arg, address) =>
    context.writeBytes(address, context.domain.config.uuid.slice(0, 16)) ? 0 : -EFAULT,
  ),
  /** EFAULT. The command line is not for guests. */
  [v.XENVER_commandline]: answerText(DENIED.length + 1, () => DENIED),
  [v.XENVER_build_id]: privileged(),
  [v.XENVER_extraversion2]: varbuf(() => '.0'),
  [v.XENVER_capabilities2]: varbuf(capabilities),
  [v.XENVER_changeset2]: varbuf(() => 'unavailable'),
  [v.XENVER_commandline2]: full({ guests: 'all', rule: 'version-varbuf' }, () => -EPERM),
});
