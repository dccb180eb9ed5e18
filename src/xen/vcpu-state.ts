/**
 * What brings vCPUs up and down: VCPUOP_up and _down, INIT and SIPI of the local APIC, HLT without interrupts.
 *
 * "Initialised" (registers are valid) and "down" are independent. Initialise sets the first and leaves an HVM vCPU down; only INIT undoes it. When
 * the last vCPU goes down the domain powers off. `xen:public/vcpu.h#VCPUOP_up`
 */
import { EINVAL } from '../abi/xen/errno.ts';
import { SHUTDOWN_poweroff } from '../abi/xen/sched.ts';
import * as S from '../cpu/state.ts';
import type { Vcpu } from './vcpu.ts';
import { VPF_blocked, VPF_down } from './vcpu.ts';

/** VCPUOP_up. EINVAL: never initialised. Bringing up a vCPU that is up is no error. */
export function upVcpu(vcpu: Vcpu): number {
  if (!vcpu.isInitialised) return -EINVAL;
  vcpu.clearPauseFlags(VPF_down);
  return 0;
}

const powersOffWithLast = (vcpu: Vcpu): boolean => vcpu.domain.rules.has('last-vcpu-down-powers-off');

/** VCPUOP_down: the domain powers off when every other vCPU is down. */
export function downVcpu(vcpu: Vcpu): void {
  const { domain } = vcpu;
  if (powersOffWithLast(vcpu) && domain.vcpus.every((other) => other === vcpu || !other.isOnline))
    domain.shutdown(SHUTDOWN_poweroff);
  else vcpu.setPauseFlags(VPF_down);
}

/** HLT. Without interrupts enabled it is for good: the vCPU goes down. Otherwise it waits, and the upcall mask is cleared. */
export function haltVcpu(vcpu: Vcpu, interruptible: boolean): void {
  if (!interruptible) {
    goOffline(vcpu);
    return;
  }
  vcpu.domain.info.setUpcallMask(vcpu.id, false, 'HLT');
  if (!vcpu.domain.upcalls.deliverable(vcpu)) vcpu.block();
}

/**
 * INIT reached the local APIC of a vCPU. Nothing happens unless it is initialised. Otherwise it goes down (the domain powers off with the last),
 * forgets its registers' validity, blocking, polling and a waiting NMI. FPU, vcpu_info, event bindings, upcall vector, areas and Xen timers stay.
 * True when the local APIC must be reset too (keeping id and base).
 */
export function initVcpu(vcpu: Vcpu): boolean {
  if (!vcpu.isInitialised) return false;
  goOffline(vcpu);
  vcpu.timers.stopPollTimeout();
  vcpu.poll = undefined;
  vcpu.cpu.nmiPending = false;
  vcpu.isInitialised = false;
  vcpu.clearPauseFlags(VPF_blocked);
  return true;
}

/** Segment attributes after SIPI. */
const CODE = 0x9b,
  DATA = 0x93,
  LDT = 0x82,
  TSS = 0x8b;
const REAL_LIMIT = 0xffff;
/** CR0 after SIPI: protection off, extension type set. */
const CR0_SIPI = 0x10n;

/** Registers that the start-up IPI does not touch; all others get their reset values. */
const KEPT = [
  S.XCR0,
  S.STAR,
  S.LSTAR,
  S.CSTAR,
  S.SFMASK,
  S.KERNEL_GS_BASE,
  S.SYSENTER_CS,
  S.SYSENTER_ESP,
  S.SYSENTER_EIP,
  S.TSC_AUX,
  S.PAT,
  S.DEBUGCTL,
  S.MISC_ENABLE,
] as const;

/**
 * A start-up IPI reached the local APIC: starts a vCPU that is not initialised at `vector << 12` in real mode, with the FPU and the debug
 * registers reset, every general register 0 (rdx too, unlike on hardware) and the time-stamp counter of vCPU 0. Other model-specific registers, NMIs that arrived since INIT and the block that
 * a running NMI handler puts on them stay. True when it started.
 */
export function sipiVcpu(vcpu: Vcpu, vector: number): boolean {
  if (vcpu.isInitialised) return false;
  const { cpu } = vcpu;
  const kept = KEPT.map((at) => [at, cpu.get64(at)] as const);
  const { nmiPending } = cpu;
  const nmiBlocked = cpu.get32(S.NMI_BLOCKED);
  cpu.reset();
  for (const [at, value] of kept) cpu.set64(at, value);
  cpu.nmiPending = nmiPending;
  cpu.set32(S.NMI_BLOCKED, nmiBlocked);
  cpu.set64(S.CR0, CR0_SIPI);
  cpu.set64(S.RIP, 0n);
  const selector = (vector << 8) & 0xffff;
  cpu.setSegment(S.CS, selector, BigInt(selector << 4), REAL_LIMIT, CODE);
  for (const n of [S.DS, S.ES, S.FS, S.GS, S.SS]) cpu.setSegment(n, 0, 0n, REAL_LIMIT, DATA);
  cpu.setSegment(S.LDTR, 0, 0n, REAL_LIMIT, LDT);
  cpu.setSegment(S.TR, 0, 0n, REAL_LIMIT, TSS);
  cpu.updateMode(0);
  vcpu.tscOffset = vcpu.domain.vcpus[0].tscOffset;
  vcpu.tscAdjust = 0n;
  vcpu.isInitialised = true;
  vcpu.clearPauseFlags(VPF_down);
  return true;
}

/** Down for good; the domain powers off when no vCPU is left. */
function goOffline(vcpu: Vcpu): void {
  vcpu.setPauseFlags(VPF_down);
  if (powersOffWithLast(vcpu) && vcpu.domain.vcpus.every((other) => !other.isOnline))
    vcpu.domain.shutdown(SHUTDOWN_poweroff);
}
