// SPDX-License-Identifier: GPL-2.0
int fork_count;

int do_fork(void)
{
	fork_count++;
	return 0;
}

int undo_fork(void)
{
	fork_count--;
	return 0;
}
