# From what the loader leaves, and from the first interrupt of another CPU, to Rust with paging on.
# What runs here is linked where it is loaded. {LONG}: a 64-bit kernel.

.section .multiboot, "a"
header:
    .long 0x1badb002
    .long 0x00010003                    # page-aligned, with a memory map, and here are the addresses
    .long -(0x1badb002 + 0x00010003)
    .long header, load_start, load_end, bss_end, boot_start

.section .boot, "awx"
.code32
.globl boot_start
boot_start:
    cli
    cld
    movl %ebx, boot_info
    xorl %ebp, %ebp                     # CPU 0
    movl ${ROOT}, %ebx
    jmp protected

# The others begin in real mode, in a copy of this below 1 MiB.
.code16
.globl boot_trampoline
boot_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt - boot_trampoline
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $trampoline_protected
trampoline_gdt:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
.globl boot_trampoline_end
boot_trampoline_end:

.code32
trampoline_protected:
    movw $0x10, %ax
    movw %ax, %ds
    movl $1, %ebp                       # CPU 1
    movl boot_root, %ebx

protected:
    lgdt boot_gdt_pointer
    ljmp $0x08, $1f
1:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    movl ${CR4}, %eax
    movl %eax, %cr4
    movl %ebx, %cr3
.if {EFER}
    movl $0xc0000080, %ecx
    rdmsr
    orl ${EFER}, %eax
    wrmsr
.endif
    movl ${CR0}, %eax
    movl %eax, %cr0                     # paging is on
    fninit
    incl %ebp
    shll ${STACK_LG2}, %ebp             # the end of this CPU's stack
.if {LONG}
    ljmp $0x18, $1f
.code64
1:  movabsq ${STACKS}, %rsp
    addq %rbp, %rsp
    movl %ebp, %edi
    shrl ${STACK_LG2}, %edi
    decl %edi
    movl boot_info, %esi
    movabsq $kernel_entry, %rax
    call *%rax
.code32
.else
    movl ${STACKS}, %esp
    addl %ebp, %esp
    shrl ${STACK_LG2}, %ebp
    decl %ebp
    subl $8, %esp
    pushl boot_info
    pushl %ebp
    movl $kernel_entry, %eax
    call *%eax
.endif
    ud2

.balign 8
boot_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 0x08: 32-bit code
    .quad 0x00cf93000000ffff            # 0x10: data
    .quad 0x00af9b000000ffff            # 0x18: 64-bit code
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
    .long {TABLES}                      # so that they are linked
boot_info:
    .long 0
.globl boot_root
boot_root:
    .long {ROOT}

# As it was before.
.if {LONG}
.code64
.endif
.text
