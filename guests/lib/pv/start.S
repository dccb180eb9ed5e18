/* Entry of a PV guest: paging is on, the hypervisor's flat segments are loaded, rsi or esi = start_info. Zeros of the image are
 * zero already, and the hypercall page in it is filled. */

#ifdef __x86_64__
#define ADDRESS .quad
#define SIZE 8
#else
#define ADDRESS .long
#define SIZE 4
#endif

        .macro  head type, size
        .balign 4
        .long   4, \size, \type
        .asciz  "Xen"
        .endm
        .macro  text type, size, value
        head    \type, \size
        .asciz  "\value"
        .endm
        .macro  number type, value
        head    \type, SIZE
        ADDRESS \value
        .endm

        .section .note.Xen, "a", @note
        text    5, 8, "xen-3.0"         /* XEN_ELFNOTE_XEN_VERSION */
        text    8, 8, "generic"         /* LOADER */
        text    6, 6, "guest"           /* GUEST_OS */
        text    9, 4, "yes"             /* PAE_MODE */
        number  3, 0                    /* VIRT_BASE */
        number  1, pv_entry             /* ENTRY */
        number  2, hypercall_page       /* HYPERCALL_PAGE */

        .text
        .globl  pv_entry
pv_entry:
        cld
#ifdef __x86_64__
        mov     %rsi, start_info
        mov     $stack_top, %rsp
        call    runtime_main
#else
        mov     %esi, start_info
        mov     $stack_top, %esp
        call    runtime_main
#endif
1:      jmp     1b

/* Exception stubs. A 64-bit frame begins with rcx and r11; a zero stands for an error code that there is none of. */
        .macro  stub vector
        .balign 16
#ifdef __x86_64__
        pop     %rcx
        pop     %r11
#endif
        .if     !(\vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21)
        push    $0
        .endif
        push    $\vector
        jmp     exception_common
        .endm

        .balign 16
        .globl  exception_stubs
exception_stubs:
        .set    i, 0
        .rept   32
        stub    i
        .set    i, i + 1
        .endr

exception_common:
#ifdef __x86_64__
        mov     %rsp, %rdi
        and     $-16, %rsp
        call    exception_report
#else
        mov     %esp, %eax
        push    %eax
        call    exception_report
#endif

        .balign 4096
        .globl  hypercall_page
hypercall_page: .skip 4096

        .bss
        .balign 16
stack:          .skip 16384
stack_top:
        .globl  start_info
start_info:     .skip 8

        .section .note.GNU-stack, "", @progbits
