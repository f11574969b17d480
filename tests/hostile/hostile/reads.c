// SPDX-License-Identifier: GPL-2.0
/* Reads its standard input to the end. */
#include <stdio.h>

int main(void)
{
	while (getchar() != EOF)
		;
	puts("KTAP version 1\n1..1\nok 1 end of input");
	return 0;
}
