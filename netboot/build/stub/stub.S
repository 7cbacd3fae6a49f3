# The code that takes the place of the decompressor in a repacked kernel
# (netboot/build, repack.go). The kernel's own real-mode part starts it at
# 0x100000 in 32-bit protected mode: flat segments, interrupts off, %esi the
# boot_params (Documentation/x86/boot.rst, "32-bit Boot Protocol"). It maps the
# first GiB onto itself, enters long mode, unpacks one LZ4 block to where the
# kernel is linked, clears what follows and jumps to the kernel's startup_64
# (the same document, "64-bit Boot Protocol").
#
# The block is trusted: repack.go made it and checked it by unpacking it again.
# sh stub.sh assembles this into stub.bin.

	.code32
	.globl start
start:
	cld
	cli
	movl %esi, %ebp			# boot_params; kept to the end
	lgdt gdt_pointer

	# One PML4, one PDPT and one page directory of 2 MiB pages.
	movl $(pdpt + 3), pml4
	movl $(pd + 3), pdpt
	movl $pd, %edi
	movl $0x83, %eax		# present, writable, 2 MiB
	movl $512, %ecx
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	decl %ecx
	jnz 1b

	movl $0x20, %eax		# CR4.PAE; nothing else, LA57 least of all
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx		# IA32_EFER
	rdmsr
	orl $0x100, %eax		# LME
	wrmsr
	movl $0x80000001, %eax		# PG, PE
	movl %eax, %cr0
	ljmp $0x10, $long

	.code64
long:
	movl $0x18, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl block_begin, %esi
	movl block_end, %r8d
	movl target, %edi

	# An LZ4 sequence (lz4_Block_format.md): token, literals, offset, match.
	# Copies go by 8 bytes, over the end by up to 7, which what follows overwrites.
sequence:
	movzbl (%rsi), %eax
	incq %rsi
	movl %eax, %ecx
	shrl $4, %ecx
	cmpl $15, %ecx
	jne literals
1:	movzbl (%rsi), %edx
	incq %rsi
	addq %rdx, %rcx
	cmpl $255, %edx
	je 1b
literals:
	leaq (%rdi,%rcx), %r9		# where they end
	leaq (%rsi,%rcx), %r12
2:	movq (%rsi), %rdx
	movq %rdx, (%rdi)
	addq $8, %rsi
	addq $8, %rdi
	cmpq %r9, %rdi
	jb 2b
	movq %r9, %rdi
	movq %r12, %rsi
	cmpq %r8, %rsi			# the last sequence has no match
	jae unpacked

	movzwl (%rsi), %edx		# the offset
	addq $2, %rsi
	andl $15, %eax
	movl %eax, %ecx
	cmpl $15, %ecx
	jne match
3:	movzbl (%rsi), %eax
	incq %rsi
	addq %rax, %rcx
	cmpl $255, %eax
	je 3b
match:
	leaq 4(%rdi,%rcx), %r9		# where it ends
	movq %rdi, %r10
	subq %rdx, %r10			# where it comes from
	cmpl $8, %edx
	jae 6f
	# It overlaps itself within 8 bytes: make 8 singly, after which a multiple of
	# the offset that is at least 8 finds the same bytes.
	movl $8, %r11d
4:	movb (%r10), %al
	movb %al, (%rdi)
	incq %r10
	incq %rdi
	decl %r11d
	jnz 4b
	movl %edx, %r11d
5:	addl %edx, %r11d
	cmpl $8, %r11d
	jb 5b
	movq %rdi, %r10
	subq %r11, %r10
6:	cmpq %r9, %rdi
	jae 7f
	movq (%r10), %rax
	movq %rax, (%rdi)
	addq $8, %r10
	addq $8, %rdi
	jmp 6b
7:	movq %r9, %rdi
	jmp sequence

unpacked:
	movl target_end, %ecx		# a multiple of 8
	subq %rdi, %rcx
	addq $7, %rcx
	shrq $3, %rcx
	xorl %eax, %eax
	rep stosq
	movl %ebp, %esi
	movl entry, %eax
	jmp *%rax

	.balign 8
gdt:	.quad 0, 0
	.quad 0x00af9a000000ffff	# 0x10: 64-bit code
	.quad 0x00cf92000000ffff	# 0x18: data
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	# Filled in by repack.go, which knows the place.
	.org 4096 - 20
block_begin:	.long 0
block_end:	.long 0
target:		.long 0
target_end:	.long 0
entry:		.long 0
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4096
