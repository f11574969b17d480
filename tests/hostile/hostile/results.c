// SPDX-License-Identifier: GPL-2.0
/* Reports cases without end. */
#include <stdio.h>

int main(void)
{
	puts("KTAP version 1");
	for (unsigned long i = 1;; i++)
		printf("# a diagnostic of %lu\nok %lu case %lu\n", i, i, i);
}
