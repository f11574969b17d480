// SPDX-License-Identifier: GPL-2.0
/* Prints PER_SECOND bytes per second without end if there is one CPU; passes otherwise. */
#include <stdio.h>
#include <unistd.h>

static unsigned long line;

static int print(void)
{
	int said = printf("# line %lu of a program that does not end\n", ++line);

	return said + fprintf(stderr, "and %lu of what it complains of\n", line);
}

int main(void)
{
	puts("KTAP version 1\n1..1");
	while (sysconf(_SC_NPROCESSORS_ONLN) == 1) {
		for (int left = PER_SECOND; left > 0; left -= print())
			;
		fflush(stdout);
		sleep(1);
	}
	puts("ok 1 it ended");
	return 0;
}
