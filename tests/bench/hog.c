/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hog - N processes that compute and nothing else. Each line on standard input is answered by how far they have come, all
 * together, and when ("progress STEPS ns TIME"); end of file: they end.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "net.h"

#define MAX_HOGS 64

struct lane {
	_Alignas(64) volatile uint64_t steps; /* a line each: they share nothing */
};

static void hog(struct lane *l)
{
	uint64_t x = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int i;

		for (i = 0; i < 64; i++)
			x = x * 6364136223846793005u + 1442695040888963407u;
		l->steps += 1 + (x == 0);
	}
}

int main(int argc, char **argv)
{
	unsigned long n = argc == 2 ? number("N", argv[1], 1, MAX_HOGS) : 0, i;
	struct lane *lanes = mmap(NULL, sizeof(*lanes) * MAX_HOGS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[MAX_HOGS];
	char line[16];

	if (!n) {
		fputs("usage: hog N\n", stderr);
		return 2;
	}
	if (lanes == MAP_FAILED)
		die("mmap");
	for (i = 0; i < n; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork");
		if (pid[i] == 0)
			hog(&lanes[i]);
	}
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long sum = 0;

		for (i = 0; i < n; i++)
			sum += lanes[i].steps;
		printf("progress %llu ns %llu\n", sum, (unsigned long long)now_ns());
		fflush(stdout);
	}
	for (i = 0; i < n; i++)
		kill(pid[i], SIGKILL);
	return 0;
}
