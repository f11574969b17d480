// SPDX-License-Identifier: GPL-2.0
/* Floods the kernel's log and its console, which it tries to silence first. */
#include <fcntl.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

int main(void)
{
	int kmsg = open("/dev/kmsg", O_WRONLY), console = open("/dev/console", O_WRONLY);
	char line[8000];

	klogctl(6, NULL, 0);
	memset(line, 'a', sizeof(line));
	memcpy(line, "BUG: using __this_cpu_", 22);
	line[sizeof(line) - 1] = '\n';
	for (;;) {
		if (write(kmsg, line, 900) < 0 && write(console, line, sizeof(line)) < 0)
			return 1;
		if (write(console, line, sizeof(line)) < 0)
			return 1;
	}
}
