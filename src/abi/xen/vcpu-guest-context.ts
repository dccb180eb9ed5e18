/**
 * State of a PV vCPU as VCPUOP_initialise and the domain builder hand it over (`xen:public/arch-x86/xen.h#vcpu_guest_context`). The 64-bit and
 * the 32-bit form differ in more than widths, so each is described on its own: `_64` with the native layout, `_32` with the compat one.
 */
import { array, bytes, type Layout, struct, u8, u16, u32, ulong, type ValueOf } from './struct.ts';

/** The FPU image is valid; it is reset otherwise. */
export const VGCF_i387_valid = 1 << 0;
export const VGCF_in_kernel = 1 << 2;
export const VGCF_failsafe_disables_events = 1 << 3;
export const VGCF_syscall_disables_events = 1 << 4;
/** The vCPU is up afterwards. */
export const VGCF_online = 1 << 5;

/** Selectors of the hypervisor's flat segments (`xen:public/arch-x86/xen-x86_32.h`, `xen-x86_64.h`). */
export const FLAT_RING1_CS = 0xe019,
  FLAT_RING1_DS = 0xe021,
  FLAT_RING3_CS32 = 0xe023,
  FLAT_RING3_CS64 = 0xe033,
  FLAT_RING3_SS64 = 0xe02b;

export const trap_info = struct('trap_info', { vector: u8, flags: u8, cs: u16, address: ulong });
/** Lowest privilege level that may raise the vector by an instruction, and events are masked on entry. */
export const TI_DPL = 3;
export const TI_DISABLE_EVENTS = 4;

export const cpu_user_regs_64 = struct('cpu_user_regs', {
  r15: ulong,
  r14: ulong,
  r13: ulong,
  r12: ulong,
  rbp: ulong,
  rbx: ulong,
  r11: ulong,
  r10: ulong,
  r9: ulong,
  r8: ulong,
  rax: ulong,
  rcx: ulong,
  rdx: ulong,
  rsi: ulong,
  rdi: ulong,
  error_code: u32,
  entry_vector: u32,
  rip: ulong,
  cs: u16,
  pad0: u16,
  saved_upcall_mask: u8,
  pad1: bytes(3),
  rflags: ulong,
  rsp: ulong,
  ss: u16,
  pad2: bytes(6),
  es: u16,
  pad3: bytes(6),
  ds: u16,
  pad4: bytes(6),
  fs: u16,
  pad5: bytes(6),
  gs: u16,
  pad6: bytes(6),
});

export const cpu_user_regs_32 = struct('cpu_user_regs', {
  ebx: u32,
  ecx: u32,
  edx: u32,
  esi: u32,
  edi: u32,
  ebp: u32,
  eax: u32,
  error_code: u16,
  entry_vector: u16,
  eip: u32,
  cs: u16,
  saved_upcall_mask: u8,
  pad0: u8,
  eflags: u32,
  esp: u32,
  ss: u16,
  pad1: u16,
  es: u16,
  pad2: u16,
  ds: u16,
  pad3: u16,
  fs: u16,
  pad4: u16,
  gs: u16,
  pad5: u16,
});

/** Fields behind the registers that both forms have. */
const tables = {
  trap_ctxt: array(trap_info, 256),
  ldt_base: ulong,
  ldt_ents: ulong,
  gdt_frames: array(ulong, 16),
  gdt_ents: ulong,
  kernel_ss: ulong,
  kernel_sp: ulong,
  ctrlreg: array(ulong, 8),
  debugreg: array(ulong, 8),
};

export const vcpu_guest_context_64 = struct('vcpu_guest_context', {
  fpu_ctxt: bytes(512),
  flags: ulong,
  user_regs: cpu_user_regs_64,
  ...tables,
  event_callback_eip: ulong,
  failsafe_callback_eip: ulong,
  syscall_callback_eip: ulong,
  vm_assist: ulong,
  fs_base: ulong,
  gs_base_kernel: ulong,
  gs_base_user: ulong,
});

export const vcpu_guest_context_32 = struct('vcpu_guest_context', {
  fpu_ctxt: bytes(512),
  flags: ulong,
  user_regs: cpu_user_regs_32,
  ...tables,
  event_callback_cs: ulong,
  event_callback_eip: ulong,
  failsafe_callback_cs: ulong,
  failsafe_callback_eip: ulong,
  vm_assist: ulong,
});

export type GuestContext64 = ValueOf<typeof vcpu_guest_context_64>;
export type GuestContext32 = ValueOf<typeof vcpu_guest_context_32>;

/** Bytes of a context. */
export const contextSize = (layout: Layout): number =>
  layout === 'native' ? vcpu_guest_context_64.size('native') : vcpu_guest_context_32.size('compat');

/** CR3 of a PV guest from a machine frame and back: 32-bit guests rotate the frame so that all of it fits. */
export const frameToCr3 = (mfn: bigint, layout: Layout): bigint =>
  layout === 'native' ? mfn << 12n : BigInt.asUintN(32, (mfn << 12n) | (mfn >> 20n));
export const cr3ToFrame = (cr3: bigint, layout: Layout): bigint =>
  layout === 'native' ? cr3 >> 12n : BigInt.asUintN(32, (cr3 >> 12n) | (cr3 << 20n));
