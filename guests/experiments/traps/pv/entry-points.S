/* Ways into the guest that come back: traps and the event callback save registers, call C with a frame and leave by the iret hypercall. */

        .macro  handler vector has_error
        .balign 16
#ifdef __x86_64__
        pop     %rcx
        pop     %r11
#endif
        .if     !\has_error
        push    $0
        .endif
        push    $\vector
        jmp     common
        .endm

        .text
        .balign 16
        .globl  trap_handlers
trap_handlers:
        .set    i, 0
        .rept   32
        handler i (i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21)
        .set    i, i + 1
        .endr

        .globl  trap_80, event_entry
        .balign 16
trap_80:
#ifdef __x86_64__
        pop     %rcx
        pop     %r11
#endif
        push    $0
        push    $0x80
        jmp     common
        .balign 16
event_entry:
#ifdef __x86_64__
        pop     %rcx
        pop     %r11
#endif
        push    $0
        push    $0x100

common:
#ifdef __x86_64__
        push    %rax
        push    %rcx
        push    %rdx
        push    %rbx
        push    %rbp
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        lea     88(%rsp), %rdi
        cld
        call    trap
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rbp
        pop     %rbx
        pop     %rdx
        pop     %rcx
        pop     %rax
        add     $16, %rsp
        push    $0                      /* flags of the iret frame */
#else
        pusha
        lea     32(%esp), %eax
        push    %eax
        cld
        call    trap
        add     $4, %esp
        popa
        add     $8, %esp
#endif
        jmp     hypercall_page + 23 * 32

        .section .note.GNU-stack, "", @progbits
