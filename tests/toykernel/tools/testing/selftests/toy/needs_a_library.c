// SPDX-License-Identifier: GPL-2.0
#include <toy/no_such_library.h>

int main(void)
{
	return 0;
}
