/* SPDX-License-Identifier: BSD-2-Clause */
#include "nextenv.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "log.h"
#include "startup.h"
#include "switch.h"
#include "sys.h"

#define ENV_MAX 16384 /* entries */
#define N_VAR 16
#define TEXT_LEN 8192
#define PRELOAD "LD_PRELOAD="
#define PREFIX "SHUNT_"
#define OFF "SHUNT_OFF="
#define CARRIED "SHUNT_CARRIED="
#define NO_CARRY "SHUNT_CARRY=0"
#define ASAN "ASAN_OPTIONS="
#define ASAN_ORDER "verify_asan_link_order" /* as `shunt run` sets it */

extern char **environ;

/* What we were started with. Copies: programs write their titles over the originals. */
static struct {
	char text[TEXT_LEN];
	char *var[N_VAR];
	size_t n, names_len;
	const char *lib; /* where the dynamic linker will look for us */
	bool hidden, unwanted;
} ours;

static bool begins(const char *entry, const char *with)
{
	return strncmp(entry, with, strlen(with)) == 0;
}

static size_t name_len(const char *entry)
{
	return strcspn(entry, "=");
}

/* The entry of the variable that `entry` is of. */
static const char *find(char *const envp[], const char *entry)
{
	size_t len = name_len(entry) + 1;
	for (; envp && *envp; envp++)
		if (!strncmp(*envp, entry, len))
			return *envp;
	return NULL;
}

static char *keep(const char *entry, size_t len)
{
	static size_t used;
	char *to = ours.text + used;
	if (ours.n == N_VAR || TEXT_LEN - used <= len)
		return NULL;
	*(char *)mempcpy(to, entry, len) = 0;
	ours.var[ours.n++] = to;
	ours.names_len += name_len(to) + 1;
	used += len + 1;
	return to;
}

/* What stands behind us in the list is the program's own, and not for others. */
static bool keep_preload(const char *entry)
{
	const char *end = startup_find_in(entry + strlen(PRELOAD));
	char *kept = end ? keep(entry, (size_t)(end - entry)) : NULL;
	if (!kept)
		return !end;
	ours.lib = kept + strlen(PRELOAD);
	for (const char *p = ours.lib; *p; p++)
		if (*p == ':' || *p == ' ')
			ours.lib = p + 1;
	return true;
}

static bool keep_if_ours(const char *entry)
{
	if (begins(entry, PRELOAD))
		return keep_preload(entry);
	return !begins(entry, PREFIX) || begins(entry, OFF) || begins(entry, CARRIED) || keep(entry, strlen(entry));
}

/* Is it one of the words? */
static bool is_among(const char *entry, const char *words)
{
	size_t len;
	for (; *words; words += len + (words[len] == ' ')) {
		len = strcspn(words, " ");
		if (len == name_len(entry) && !memcmp(words, entry, len))
			return true;
	}
	return false;
}

/* Behind the end of the array is the auxiliary vector, which some runtimes (Go's) look for there themselves: they find none. */
static void hide(const char *words)
{
	char **to = environ;
	for (char **e = environ; *e; e++)
		if (!begins(*e, CARRIED) && !begins(*e, OFF) && !is_among(*e, words))
			*to++ = *e;
	while (*to)
		*to++ = NULL;
}

void nextenv_init(void)
{
	static const char asan[] = ASAN ASAN_ORDER "=0";
	if (!environ)
		return;
	const char *carried = find(environ, CARRIED);
	bool room = keep(asan, sizeof(asan) - 1);
	for (char **e = environ; *e; e++) {
		ours.unwanted |= strcmp(*e, NO_CARRY) == 0;
		room &= keep_if_ours(*e);
	}
	if (!room) { /* half of them would be another shunt */
		ours.lib = NULL;
		log_line("SHUNT_* are too long: programs with an environment of their own will not run under shunt");
	}
	ours.hidden = carried;
	if (carried)
		hide(carried + strlen(CARRIED));
}

#define PAGE 4096u /* or a part of one */

static bool can_be_read(uintptr_t at)
{
	char c;
	return sys_copy_in(&c, (void *)at, 1) == 0;
}

/* To its end. One octet of a page says that all of it is there; *known: the page that was asked for last. */
static bool is_text(uintptr_t at, uintptr_t *known)
{
	for (;; at += PAGE - at % PAGE) {
		if (at / PAGE != *known && !can_be_read(at))
			return false;
		*known = at / PAGE;
		if (memchr((void *)at, 0, PAGE - at % PAGE))
			return true;
	}
}

bool nextenv_is_there(char *const envp[])
{
	uintptr_t at = (uintptr_t)envp, page = 0, known = 0;
	if (envp == environ || !at || filter_may_forbid())
		return true;
	for (size_t n = 0; n < ENV_MAX; n++, at += sizeof(char *)) {
		uintptr_t entry, last = (at + sizeof(char *) - 1) / PAGE;
		if (last != page && (!can_be_read(at) || !can_be_read(at + sizeof(char *) - 1)))
			return false;
		page = last;
		memcpy(&entry, (void *)at, sizeof(entry));
		if (!entry)
			return true;
		if (!is_text(entry, &known))
			return false;
	}
	return true;
}

bool nextenv_names_us(char *const envp[])
{
	const char *e = (uintptr_t)envp < 4096 ? NULL : find(envp, PRELOAD);
	return e && startup_find_in(e + strlen(PRELOAD));
}

/* In another root directory, or of a user who may not read it? The dynamic linker would complain. */
static bool can_be_loaded(void)
{
	if (!strchr(ours.lib, '/'))
		return true;
	long fd = sys4(SYS_openat, AT_FDCWD, ours.lib, O_RDONLY | O_CLOEXEC, 0);
	if (fd >= 0)
		sys1(SYS_close, fd);
	return fd >= 0;
}

/* ENV_MAX: as many or more. */
static size_t count(char *const envp[])
{
	size_t n = 0;
	while (n < ENV_MAX && envp[n])
		n++;
	return n;
}

bool nextenv_carries(char *const envp[])
{
	if (ours.unwanted || !ours.lib || (uintptr_t)envp < 4096 || count(envp) == ENV_MAX || find(envp, PRELOAD))
		return false;
	if (!ours.hidden && (envp == environ || !nextenv_names_us(environ)))
		return false;
	const char *asan = find(envp, ASAN);
	return (!asan || strstr(asan, ASAN_ORDER)) && !filter_may_forbid() && can_be_loaded();
}

/* SHUNT_OFF is there once if we are off, and not at all otherwise. */
static bool tells_off(char *const envp[])
{
	size_t n = 0, right = 0;
	for (; envp && *envp; envp++)
		if (begins(*envp, OFF)) {
			n++;
			right += strcmp(*envp, OFF "1") == 0;
		}
	return switch_is_off() ? n == 1 && right == 1 : !n;
}

/* Entries of what is made of n: ours, SHUNT_CARRIED, SHUNT_OFF, and the end. */
static size_t n_made(size_t n)
{
	return n + ours.n + 3;
}

size_t nextenv_len(char *const envp[], bool add, size_t *n)
{
	if ((uintptr_t)envp < 4096 || (!add && tells_off(envp)) || (*n = count(envp)) == ENV_MAX)
		return 0;
	return n_made(*n) * sizeof(char *) + sizeof(CARRIED) + ours.names_len;
}

/* Ours, where envp has none of that name, and their names. Where the entries end. */
static char **add_ours(char **to, char *const envp[], char *text)
{
	char *end = stpcpy(text, CARRIED);
	for (size_t i = 0; i < ours.n; i++) {
		if (find(envp, ours.var[i]))
			continue;
		*to++ = ours.var[i];
		if (end > text + strlen(CARRIED))
			*end++ = ' ';
		end = mempcpy(end, ours.var[i], name_len(ours.var[i]));
	}
	*end = 0;
	*to++ = text;
	return to;
}

char *const *nextenv_make(char *const envp[], bool add, size_t n, char **room)
{
	static char off[] = OFF "1";
	char **to = room;
	for (size_t i = 0; i < n && envp[i]; i++)
		if (!begins(envp[i], OFF) && !(add && begins(envp[i], CARRIED)))
			*to++ = envp[i];
	if (add)
		to = add_ours(to, envp, (char *)(room + n_made(n)));
	if (switch_is_off())
		*to++ = off;
	*to = NULL;
	return room;
}

void nextenv_set(void)
{
	if (ours.hidden || tells_off(environ)) /* who does not see us starts others without us there */
		return;
	if (switch_is_off())
		setenv("SHUNT_OFF", "1", 1);
	else
		unsetenv("SHUNT_OFF");
}
