/** `xen:public/hvm/hvm_vcpu.h`: initial state of an HVM vCPU. 128 bytes in both layouts. */
import { array, struct, u16, u32, u64 } from './struct.ts';

export const VCPU_HVM_MODE_32B = 0;
export const VCPU_HVM_MODE_64B = 1;

/** Segment order of bases, limits and attributes. */
export const HVM_CONTEXT_SEGMENTS = ['cs', 'ds', 'ss', 'es', 'tr'] as const;

const header = { mode: u32, pad: u32 } as const;

/** The context read as mode 0: 32-bit registers, segments given. */
export const vcpu_hvm_x86_32 = struct('vcpu_hvm_x86_32', {
  ...header,
  eax: u32,
  ecx: u32,
  edx: u32,
  ebx: u32,
  esp: u32,
  ebp: u32,
  esi: u32,
  edi: u32,
  eip: u32,
  eflags: u32,
  cr0: u32,
  cr3: u32,
  cr4: u32,
  pad1: u32,
  efer: u64,
  base: array(u32, 5),
  limit: array(u32, 5),
  attributes: array(u16, 5),
  pad2: array(u16, 3),
});

/** The context read as mode 1: 64-bit registers, flat segments implied. */
export const vcpu_hvm_x86_64 = struct('vcpu_hvm_x86_64', {
  ...header,
  rax: u64,
  rcx: u64,
  rdx: u64,
  rbx: u64,
  rsp: u64,
  rbp: u64,
  rsi: u64,
  rdi: u64,
  rip: u64,
  rflags: u64,
  cr0: u64,
  cr3: u64,
  cr4: u64,
  efer: u64,
});

/** Bytes read from the guest whatever the mode. */
export const VCPU_HVM_CONTEXT_SIZE = 128;
