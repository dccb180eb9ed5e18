/** What the virtual hardware asks of the hypervisor. */
import { SHUTDOWN_poweroff, SHUTDOWN_reboot } from '../abi/xen/sched.ts';
import type { PlatformSinks } from '../machine/index.ts';
import { TSC_KHZ } from './cpuid.ts';
import type { Domain } from './domain.ts';
import { VPF_down } from './vcpu.ts';
import { initVcpu, sipiVcpu } from './vcpu-state.ts';

const KILO = 1_000_000n;
const SECOND = 1_000_000_000n;

export function platformSinks(domain: Domain): PlatformSinks {
  return {
    nmi: (id) => {
      const vcpu = domain.vcpus[id];
      if (vcpu.nmiPending) return;
      // Unlike VCPUOP_send_nmi, an NMI by the APIC starts a vCPU that was taken down.
      if (vcpu.isInitialised) vcpu.clearPauseFlags(VPF_down);
      vcpu.sendNmi();
    },
    init: (id) => initVcpu(domain.vcpus[id]),
    sipi: (id, vector) => void sipiVcpu(domain.vcpus[id], vector),
    kick: (id) => domain.vcpus[id].kick(),
    softwareEnabled: (id) => domain.upcalls.lapicEnabled(id),
    crash: (reason) => domain.crash(reason),
    readTsc: (id) => BigInt.asUintN(64, domain.now() + (domain.vcpus[id]?.tscOffset ?? 0n)),
    tscToNanoseconds: (ticks) => (ticks * KILO) / BigInt(TSC_KHZ),
    debugByte: (byte) => domain.onDebugOutput(Uint8Array.of(byte)),
    reset: () => domain.shutdown(SHUTDOWN_reboot),
    sleep: () => domain.shutdown(SHUTDOWN_poweroff),
    timeOffset: (seconds) => {
      domain.info.wallclockBase += BigInt(seconds) * SECOND;
      domain.info.updateWallclock();
    },
  };
}
