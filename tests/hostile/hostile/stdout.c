// SPDX-License-Identifier: GPL-2.0
/* Prints without end and without a newline, on both outputs. */
#include <string.h>
#include <unistd.h>

int main(void)
{
	char block[1 << 16];

	memset(block, 'x', sizeof(block));
	for (;;) {
		if (write(1, block, sizeof(block)) < 0 || write(2, block, sizeof(block)) < 0)
			return 1;
	}
}
