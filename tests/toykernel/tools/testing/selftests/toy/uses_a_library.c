// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>

int toy_answer(void);

int main(void)
{
	printf("[OK]\t%d\n", toy_answer());
	return 0;
}
