/* SPDX-License-Identifier: BSD-2-Clause */
#include "nextenv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "startup.h"
#include "switch.h"

#define ENV_MAX 16384 /* entries */
#define N_VAR 16
#define TEXT_LEN 8192
#define PRELOAD "LD_PRELOAD="
#define PREFIX "SHUNT_"
#define OFF "SHUNT_OFF="
#define CARRIED "SHUNT_CARRIED="
#define CARRY "SHUNT_CARRY="

extern char **environ;

/* What we were started with. Copies: programs write their titles over the originals. */
static struct {
	char text[TEXT_LEN];
	char *var[N_VAR];
	size_t n;
	bool hidden, wanted;
} ours;

static bool begins(const char *entry, const char *with)
{
	return strncmp(entry, with, strlen(with)) == 0;
}

static bool is_ours(const char *entry)
{
	return begins(entry, PREFIX) || (begins(entry, PRELOAD) && startup_is_in(entry + strlen(PRELOAD)));
}

static bool keep(const char *entry, size_t *used)
{
	size_t len = strlen(entry) + 1;
	if (ours.n == N_VAR || TEXT_LEN - *used < len)
		return false;
	ours.var[ours.n++] = memcpy(ours.text + *used, entry, len);
	*used += len;
	return true;
}

void nextenv_init(void)
{
	size_t used = 0, n = 0;
	bool room = true;
	if (!environ)
		return;
	for (char **e = environ; *e; e++) {
		ours.hidden |= begins(*e, CARRIED);
		ours.wanted |= begins(*e, CARRY) && (*e)[sizeof(CARRY) - 1];
		if (is_ours(*e) && !begins(*e, OFF) && !begins(*e, CARRIED))
			room &= keep(*e, &used);
	}
	if (!room) /* half of them would be another shunt */
		ours.n = 0;
	for (char **e = environ; ours.hidden && *e; e++)
		if (!is_ours(*e))
			environ[n++] = *e;
	if (ours.hidden)
		environ[n] = NULL;
}

/* The entry of the variable that `entry` is of. */
static const char *find(char *const envp[], const char *entry)
{
	size_t len = strcspn(entry, "=") + 1;
	for (; envp && *envp; envp++)
		if (!strncmp(*envp, entry, len))
			return *envp;
	return NULL;
}

bool nextenv_names_us(char *const envp[])
{
	const char *e = find(envp, PRELOAD);
	return e && startup_is_in(e + strlen(PRELOAD));
}

static bool carries(char *const envp[])
{
	return ours.wanted && ours.n && !find(envp, PRELOAD) && (ours.hidden || (envp != environ && nextenv_names_us(environ)));
}

bool nextenv_has_us(char *const envp[])
{
	return (uintptr_t)envp >= 4096 && (nextenv_names_us(envp) || carries(envp));
}

/* SHUNT_OFF is there once if we are off, and not at all otherwise. */
static bool tells_off(char *const envp[])
{
	size_t n = 0, right = 0;
	for (; *envp; envp++)
		if (begins(*envp, OFF)) {
			n++;
			right += strcmp(*envp, OFF "1") == 0;
		}
	return switch_is_off() ? n == 1 && right == 1 : !n;
}

size_t nextenv_len(char *const envp[])
{
	size_t n = 0;
	if ((uintptr_t)envp < 4096 || (tells_off(envp) && !carries(envp)))
		return 0;
	while (envp[n])
		n++;
	return n < ENV_MAX ? (n + ours.n + 3) * sizeof(char *) : 0;
}

char *const *nextenv_make(char *const envp[], char **room)
{
	static char off[] = OFF "1", carried[] = CARRIED "1";
	bool add = carries(envp);
	size_t n = 0;
	for (char *const *e = envp; *e; e++)
		if (!begins(*e, OFF))
			room[n++] = *e;
	for (size_t i = 0; add && i < ours.n; i++)
		if (!find(envp, ours.var[i]))
			room[n++] = ours.var[i];
	if (add)
		room[n++] = carried;
	if (switch_is_off())
		room[n++] = off;
	room[n] = NULL;
	return room;
}

void nextenv_set(void)
{
	if (tells_off(environ))
		return;
	if (switch_is_off())
		setenv("SHUNT_OFF", "1", 1);
	else
		unsetenv("SHUNT_OFF");
}
