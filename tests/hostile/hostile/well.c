// SPDX-License-Identifier: GPL-2.0
/* Does what a program should. */
#include <stdio.h>

int main(void)
{
	puts("KTAP version 1\n1..1\nok 1 well");
	return 0;
}
