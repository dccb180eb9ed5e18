/**
 * What brings vCPUs up and down: VCPUOP_up and _down, INIT and SIPI of the local APIC, HLT without interrupts.
 *
 * "Initialised" (registers are valid) and "down" are independent. Initialise sets the first and leaves an HVM vCPU down; only INIT undoes it. When
 * the last vCPU goes down the domain powers off. `xen:public/vcpu.h#VCPUOP_up`
 */
import { EINVAL } from '../abi/xen/errno.ts';
import { SHUTDOWN_poweroff } from '../abi/xen/sched.ts';
import { STATE as S } from '../cpu/index.ts';
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
 * forgets its registers' validity, blocking and polling. FPU, vcpu_info, event bindings, upcall vector, areas and Xen timers stay.
 * True when the local APIC must be reset too (keeping id and base).
 */
export function initVcpu(vcpu: Vcpu): boolean {
  if (!vcpu.isInitialised) return false;
  goOffline(vcpu);
  vcpu.timers.stopPollTimeout();
  vcpu.poll = undefined;
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

/** A start-up IPI reached the local APIC: starts a vCPU that is not initialised at `vector << 12` in real mode. True when it started. */
export function sipiVcpu(vcpu: Vcpu, vector: number, signature = 0): boolean {
  if (vcpu.isInitialised) return false;
  const { cpu } = vcpu;
  cpu.reset();
  cpu.set64(S.CR0, CR0_SIPI);
  cpu.set64(S.gpr(S.RDX), BigInt(signature));
  cpu.set64(S.RIP, 0n);
  const selector = (vector << 8) & 0xffff;
  cpu.setSegment(S.CS, selector, BigInt(selector << 4), REAL_LIMIT, CODE);
  for (const n of [S.DS, S.ES, S.FS, S.GS, S.SS]) cpu.setSegment(n, 0, 0n, REAL_LIMIT, DATA);
  cpu.setSegment(S.LDTR, 0, 0n, REAL_LIMIT, LDT);
  cpu.setSegment(S.TR, 0, 0n, REAL_LIMIT, TSS);
  cpu.updateMode(0);
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
