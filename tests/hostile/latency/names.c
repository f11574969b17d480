// SPDX-License-Identifier: GPL-2.0
/* Leaves a sample file with a name that is not UTF-8. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
	if (chdir(getenv("UINTR_SAMPLES")))
		return 1;
	close(open("a\xff b", O_CREAT | O_WRONLY, 0644));
	puts("KTAP version 1\n1..1\nok 1 measured");
	return 0;
}
