/** Groups of Hyper-V enlightenments (`xen:man/xl.cfg.5`, viridian) as bits of HVM_PARAM_VIRIDIAN (`xen:public/hvm/params.h`). */
import { BadInput } from '../bad-input.ts';

const BASE = 1 << 0,
  NO_FREQUENCY = 1 << 1;
const GROUPS: Readonly<Record<string, number>> = {
  time_ref_count: 1 << 2,
  reference_tsc: 1 << 3,
  hcall_remote_tlb_flush: 1 << 4,
  apic_assist: 1 << 5,
  crash_ctl: 1 << 6,
  synic: 1 << 7,
  stimer: 1 << 8,
  hcall_ipi: 1 << 9,
  ex_processor_masks: 1 << 10,
  no_vp_limit: 1 << 11,
  cpu_hotplug: 1 << 12,
};
const DEFAULTS = ['base', 'freq', 'time_ref_count', 'apic_assist', 'crash_ctl'];

/** Value of the parameter; `!group` takes a group out again. Throws {@link BadInput} `viridian`. */
export function viridianBits(groups: readonly string[]): number {
  const on = new Set<string>();
  for (const text of groups) {
    const name = text.replace(/^!/, '');
    const names = name === 'defaults' ? DEFAULTS : name === 'all' ? ['base', 'freq', ...Object.keys(GROUPS)] : [name];
    for (const group of names) {
      if (group !== 'base' && group !== 'freq' && GROUPS[group] === undefined)
        throw new BadInput('viridian', `viridian has no group ${group}`);
      if (text.startsWith('!')) on.delete(group);
      else on.add(group);
    }
  }
  if (on.size === 0) return 0;
  if (!on.has('base')) throw new BadInput('viridian', 'viridian needs the group base when it has any other');
  // The frequency registers come with the base group; the bit takes them out.
  return [...on].reduce((bits, group) => bits | (GROUPS[group] ?? 0), BASE | (on.has('freq') ? 0 : NO_FREQUENCY));
}
