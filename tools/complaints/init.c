// SPDX-License-Identifier: GPL-2.0
/* Init that provokes a kernel report: "way=NAME" or "lkdtm=NAME", and "wait=SECONDS". */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char line[4096];

static const char *word(const char *name)
{
	static char found[8][64];
	static int used;
	char *at = strstr(line, name), *copy = found[used++ % 8];

	if (!at)
		return NULL;
	snprintf(copy, sizeof(found[0]), "%s", at + strlen(name));
	copy[strcspn(copy, " \n")] = '\0';
	return copy;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		perror(path);
	close(fd);
}

int main(void)
{
	const char *way, *lkdtm, *wait_s;
	int fd;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	fd = open("/proc/cmdline", O_RDONLY);
	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0)
		perror("cmdline");
	way = word(" way=");
	lkdtm = word(" lkdtm=");
	wait_s = word(" wait=");
	put("/dev/kmsg", "complaint: begin\n");
	if (fork() == 0) {
		if (way)
			put("/sys/module/complain/parameters/now", way);
		if (lkdtm)
			put("/sys/kernel/debug/provoke-crash/DIRECT", lkdtm);
		_exit(0);
	}
	sleep(wait_s ? atoi(wait_s) : 2);
	if (strstr(line, "kmemleak")) {
		put("/sys/kernel/debug/kmemleak", "scan");
		sleep(6);
		put("/sys/kernel/debug/kmemleak", "scan");
	}
	put("/dev/kmsg", "complaint: end\n");
	reboot(RB_AUTOBOOT);
	return 0;
}
