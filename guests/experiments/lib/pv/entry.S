/* Where started vCPUs come in: everything is set up, and rdi or edi is the vCPU's number. */

        .text
        .globl  ap_entry
ap_entry:
        cld
#ifdef __x86_64__
        call    ap_c_entry
#else
        push    %edi
        call    ap_c_entry
#endif
1:      jmp     1b

        .section .note.GNU-stack, "", @progbits
