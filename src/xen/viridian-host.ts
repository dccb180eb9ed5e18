/** The Hyper-V interface of a domain, and what it asks of it. */
import { gfn as asGfn, type VcpuId, vcpuId } from '../base/int.ts';
import type { Platform } from '../machine/index.ts';
import { TSC_KHZ } from './cpuid.ts';
import type { Domain } from './domain.ts';
import { MAX_GFN } from './memory/p2m.ts';
import type { ViridianHost } from './viridian/host.ts';
import { Viridian } from './viridian/viridian.ts';

/** `features`: HVM_PARAM_VIRIDIAN. */
export const createViridian = (
  domain: Domain,
  platform: Platform,
  tscOf: (vcpu: VcpuId) => bigint,
  features: number,
): Viridian => new Viridian(viridianHost(domain, platform, tscOf), features);

function viridianHost(domain: Domain, platform: Platform, tscOf: (vcpu: VcpuId) => bigint): ViridianHost {
  return {
    vcpus: domain.config.maxVcpus,
    clock: platform.clock,
    events: platform.events,
    tscKhz: BigInt(TSC_KHZ),
    tscIsStable: true,
    intel: true,
    readTsc: () => tscOf(vcpuId(0)),
    lapic: (vcpu) => {
      const lapic = platform.lapic(vcpu);
      if (lapic === undefined) throw new RangeError(`vCPU ${vcpu} has no local APIC`);
      return lapic;
    },
    writablePage: (gfn) => {
      if (gfn > BigInt(MAX_GFN)) return undefined;
      const frame = domain.p2m.ramAt(Number(gfn));
      if (frame === 0 || !domain.memory.isWritable(asGfn(Number(gfn)))) return undefined;
      // The caller writes to it: translations of its contents are stale.
      domain.memory.onRemap();
      return domain.memory.frameBytes(frame);
    },
    readPhysical: (address, length) => {
      const bytes = new Uint8Array(length);
      return address < 1n << 39n && domain.memory.readPhysical(Number(address), bytes) ? bytes : undefined;
    },
    flushTlb: (vcpus) => {
      for (const vcpu of vcpus) domain.vcpus[vcpu].cpu.flushTlb(true);
    },
    yield: (vcpu) => domain.vcpus[vcpu].cpu.requestExit(),
    crashed: (_vcpu, parameters) =>
      domain.audit.count(`guest reports a crash: ${parameters.map((p) => p.toString(16)).join(' ')}`),
  };
}
