/* Entry of a PVH guest (docs of Xen: pvh): 32-bit protected mode, flat segments, paging off, ebx = start_info.
 * Assembled twice: for a 32-bit guest, and with __x86_64__ for one that enters long mode by itself. */

#define SEL_CODE   0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18

        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, 18                /* XEN_ELFNOTE_PHYS32_ENTRY: a 32-bit physical address */
        .asciz  "Xen"
        .long   pvh_entry

        .text
        .code32
        .globl  pvh_entry
pvh_entry:
        cli
        cld
        mov     %ebx, %ebp              /* start_info, until there is a place for it */
        mov     $bss_start, %edi
        mov     $bss_end, %ecx
        sub     %edi, %ecx
        shr     $2, %ecx
        xor     %eax, %eax
        rep stosl
        mov     %ebp, start_info
        mov     $stack_top, %esp
        lgdt    gdt_pointer
#ifndef __x86_64__
        ljmp    $SEL_CODE, $1f
1:      mov     $SEL_DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        call    runtime_main
#else
        ljmp    $SEL_CODE32, $1f
1:      mov     $SEL_DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss

        movl    $(pdpt + 3), pml4       /* one to one, 4 GiB in 2 MiB pages */
        mov     $pdpt, %edi
        mov     $(directories + 3), %eax
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $4096, %eax
        add     $8, %edi
        loop    1b
        mov     $directories, %edi
        mov     $0x83, %eax             /* present, writable, large */
        mov     $2048, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b

        mov     $0x20, %eax             /* CR4.PAE */
        mov     %eax, %cr4
        mov     $pml4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       /* EFER.LME */
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     $0x80000011, %eax       /* PG, ET, PE */
        mov     %eax, %cr0
        ljmp    $SEL_CODE, $1f
        .code64
1:      mov     $stack_top, %rsp
        xor     %eax, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        call    runtime_main
#endif
2:      hlt
        jmp     2b

/* Exception stubs: push a zero where the processor pushes no error code, then the vector. */
        .macro  stub vector
        .balign 16
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

        .section .rodata
        .balign 8
gdt:    .quad   0
#ifdef __x86_64__
        .quad   0x00af9b000000ffff      /* 0x08: 64-bit code */
#else
        .quad   0x00cf9b000000ffff      /* 0x08: 32-bit code */
#endif
        .quad   0x00cf93000000ffff      /* 0x10: data */
        .quad   0x00cf9b000000ffff      /* 0x18: 32-bit code */
gdt_end:
        .globl  gdt_pointer
gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt, 0

        .bss
        .balign 4096
        .globl  hypercall_page
hypercall_page: .skip 4096
#ifdef __x86_64__
pml4:           .skip 4096
pdpt:           .skip 4096
directories:    .skip 4 * 4096
#endif
stack:          .skip 16384
stack_top:
        .globl  start_info
start_info:     .skip 8

        .section .note.GNU-stack, "", @progbits
