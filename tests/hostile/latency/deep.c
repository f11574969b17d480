// SPDX-License-Identifier: GPL-2.0
/* Leaves 1,200 folders within each other, and a name that is not UTF-8. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
	if (chdir(getenv("UINTR_SAMPLES")))
		return 1;
	close(open("a\xff b", O_CREAT | O_WRONLY, 0644));
	for (int i = 0; i < 1200; i++) {
		if (mkdir("d", 0755) || chdir("d"))
			return 1;
	}
	puts("KTAP version 1\n1..1\nok 1 measured");
	return 0;
}
