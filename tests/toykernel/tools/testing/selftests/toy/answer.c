// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <linux/toy.h>

int main(void)
{
	printf("[OK]\t%d\n", TOY_ANSWER);
	return 0;
}
