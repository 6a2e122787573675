/* SPDX-License-Identifier: BSD-2-Clause */
/* doc_script.c - which program a script is in the end: its interpreter, and where that is env(1), what this starts. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "doctor.h"
#include "exe.h"

void script_interpreter(const char *path, char real[PATH_MAX], char argument[EXE_LINE_LEN])
{
	char interpreter[EXE_LINE_LEN];

	snprintf(real, PATH_MAX, "%s", path);
	argument[0] = 0;
	for (int i = 0; i < EXE_MAX_SCRIPTS && exe_script(real, interpreter, argument); i++)
		snprintf(real, PATH_MAX, "%s", interpreter);
}

static int begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* Options of env that take the next word as their value, if they are given by one letter. */
static int takes_word(const char *option)
{
	return !strcmp(option, "-u") || !strcmp(option, "-C") || !strcmp(option, "--unset") || !strcmp(option, "--chdir");
}

/* -S: env itself splits the rest of the line. What needs more than blanks for that is not understood here. */
static const char *split_program(char *words)
{
	char *w = strtok(words, " \t");

	for (; w; w = strtok(NULL, " \t")) {
		if (strpbrk(w, "'\"\\$#"))
			return NULL;
		if (takes_word(w))
			strtok(NULL, " \t");
		else if (*w != '-' && !strchr(w, '='))
			return w;
	}
	return NULL;
}

int script_env(const char *real, char argument[EXE_LINE_LEN], char name[EXE_LINE_LEN])
{
	static const char *const split[] = {"-S", "-vS", "--split-string="};
	const char *slash = strrchr(real, '/'), *program = argument;

	if (strcmp(slash ? slash + 1 : real, "env") || !*argument)
		return 0;
	for (size_t i = 0; i < sizeof(split) / sizeof(*split); i++)
		if (begins(argument, split[i])) {
			program = split_program(argument + strlen(split[i]));
			break;
		}
	if (!program || *program == '-' || strchr(program, '='))
		return 0; /* its program is the script, or not to be told */
	snprintf(name, EXE_LINE_LEN, "%s", program);
	return 1;
}
