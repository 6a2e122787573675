/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * switcher.c - an operator who switches processes off and on as `shunt off` and `shunt on` do, without starting a process each time. Lines "off PID" and "on PID" on stdin; for each
 * one line: 1 it has been told, 0 there is no such process under shunt (any more).
 */
#include <stdio.h>
#include <string.h>

#include "poke.h"

static int told(const char *word, unsigned pid)
{
	struct poke p;
	int ok;

	if (poke_open(&p, pid))
		return 0;
	ok = !poke_switch(&p, !strcmp(word, "off"));
	poke_close(&p);
	return ok;
}

int main(void)
{
	char word[8];
	unsigned pid;

	while (scanf("%7s %u", word, &pid) == 2) {
		printf("%d\n", told(word, pid));
		fflush(stdout);
	}
	return 0;
}
