// SPDX-License-Identifier: GPL-2.0
int string_length(const char *s)
{
	int n = 0;

	while (s[n])
		n++;
	return n;
}
