// SPDX-License-Identifier: GPL-2.0-only
/* Memory, and the pages of the window, see bare.h. */
#include "bare.h"

extern u64 boot_pml4[], window_pt[];

static u8 window_pages[WINDOW_PAGES][PAGE_SIZE] __attribute__((aligned(4096)));

void *memset(void *to, int byte, u64 size)
{
	void *start = to;

	asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, u64 size)
{
	void *start = to;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) :: "memory");
	return start;
}

int memcmp(const void *a, const void *b, u64 size)
{
	const u8 *x = a, *y = b;

	for (; size; size--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

void *window_memory(int n)
{
	return window_pages[n];
}

void map(int n, u64 flags)
{
	window_pt[n] = flags ? (u64)window_pages[n] | flags : 0;
	asm volatile("invlpg (%0)" :: "r"(window(n)) : "memory");
}

void unmap_all(void)
{
	int n;

	for (n = 0; n < WINDOW_PAGES; n++) {
		if (window_pt[n])
			map(n, 0);
	}
}

bool cpu_has_smap(void)
{
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	return b >> 20 & 1;
}

void set_smap(bool on)
{
	boot_pml4[0] = on ? boot_pml4[0] & ~(u64)PTE_U : boot_pml4[0] | PTE_U;
	asm volatile("movq %%cr3, %%rax; movq %%rax, %%cr3" ::: "rax", "memory");
	write_cr4(on ? read_cr4() | CR4_SMAP : read_cr4() & ~(u64)CR4_SMAP);
	asm volatile("pushfq; andq %0, (%%rsp); popfq" :: "i"(~RFLAGS_AC) : "memory", "cc");
}
