// SPDX-License-Identifier: GPL-2.0
const char *where = __FILE__;
const char *when = STAMP;

void panic(void)
{
	for (;;)
		;
}
