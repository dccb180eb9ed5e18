/* Where started vCPUs come in: ap_entry with everything set up (rdi or edi is the vCPU's number), or the trampoline in real
 * mode, from a copy below 1 MiB. */

        .text
        .globl  ap_entry
ap_entry:
#ifdef __x86_64__
        call    ap_c_entry
#else
        push    %edi
        call    ap_c_entry
#endif

        .globl  trampoline, trampoline_end, trampoline_gdt
        .code16
trampoline:
        cli
        mov     %cs, %ax
        mov     %ax, %ds
        lgdtl   trampoline_gdt - trampoline
        mov     $0x11, %eax             /* PE, ET */
        mov     %eax, %cr0
        ljmpl   $0x18, $ap_protected
        .balign 4
trampoline_gdt: .skip 6
trampoline_end:

        .code32
ap_protected:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
#ifndef __x86_64__
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        mov     ap_stack, %esp
        mov     ap_id, %edi
        jmp     ap_entry
#else
        mov     $0x20, %eax             /* CR4.PAE */
        mov     %eax, %cr4
        mov     ap_cr3, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       /* EFER.LME */
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     $0x80000011, %eax       /* PG, ET, PE */
        mov     %eax, %cr0
        ljmp    $0x08, $1f
        .code64
1:      xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        mov     ap_stack, %rsp
        mov     ap_id, %edi
        jmp     ap_entry
#endif

/* Interrupts: one stub per vector from VECTOR_WAKE on, 16 bytes apart. */
        .globl  interrupt_stubs
        .balign 16
interrupt_stubs:
        .set    i, 0x41
        .rept   5
        .balign 16
        push    $i
        jmp     interrupt_common
        .set    i, i + 1
        .endr

interrupt_common:
#ifdef __x86_64__
        push    %rax
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        mov     72(%rsp), %edi
        cld
        call    interrupt
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rax
        add     $8, %rsp
        iretq
#else
        pusha
        push    32(%esp)
        cld
        call    interrupt
        add     $4, %esp
        popa
        add     $4, %esp
        iret
#endif

        .section .note.GNU-stack, "", @progbits
