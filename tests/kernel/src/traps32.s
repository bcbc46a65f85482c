# Handlers of a 32-bit CPU: they save what Rust may change, the x87 registers too, since 64-bit
# atomics go through these.

.text
.irp vector, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
trap_\vector:
    pushl $\vector
    jmp trap_common
.endr
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 31, 64, 255
trap_\vector:
    pushl $0
    pushl $\vector
    jmp trap_common
.endr

trap_common:
    pushal
    movl %esp, %ebp
    subl $528, %esp
    andl $-16, %esp
    fxsave 16(%esp)
    fninit
    cld
    movl %ebp, (%esp)
    call {TRAP}
    fxrstor 16(%esp)
    movl %ebp, %esp
    popal
    addl $8, %esp
    iretl

.globl trap_table
.balign 4
trap_table:
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 64, 255
    .long trap_\vector
.endr

# Accesses that may fault. Then they go on at probe_failed, and the caller finds out.
.globl probe_read, probe_write, probe_execute, probe_failed
probe_read:
    movl 4(%esp), %eax
    movl (%eax), %eax
    ret
probe_write:
    movl 4(%esp), %eax
    movl 8(%esp), %ecx
    movl %ecx, (%eax)
    ret
probe_execute:
    movl 4(%esp), %eax
    jmp *%eax
probe_failed:
    ret
