# Handlers of a 64-bit CPU: they save what Rust may change, the SSE registers too.

.text
.irp vector, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
trap_\vector:
    pushq $\vector
    jmp trap_common
.endr
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 31, 64, 255
trap_\vector:
    pushq $0
    pushq $\vector
    jmp trap_common
.endr

trap_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rbp
    movq %rsp, %rdi
    subq $512, %rsp
    andq $-16, %rsp
    fxsave64 (%rsp)
    cld
    call {TRAP}
    fxrstor64 (%rsp)
    movq %rbp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

.globl trap_table
.balign 8
trap_table:
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 64, 255
    .quad trap_\vector
.endr

# Accesses that may fault. Then they go on at probe_failed, and the caller finds out.
.globl probe_read, probe_write, probe_execute, probe_failed
probe_read:
    movq (%rdi), %rax
    ret
probe_write:
    movq %rsi, (%rdi)
    ret
probe_execute:
    jmp *%rdi
probe_failed:
    ret
