/* SPDX-License-Identifier: BSD-2-Clause */
/* cmd.h - the `shunt` command: one file a subcommand. Single-threaded programs; messages for people go to stderr. */
#ifndef SHUNT_CMD_H
#define SHUNT_CMD_H

#include <limits.h>

/* Exit statuses, as env(1) has them: 125 shunt itself failed, 126 CMD cannot be executed, 127 CMD was not found. */
#define EXIT_SHUNT 125
#define EXIT_NOEXEC 126
#define EXIT_NOTFOUND 127

/* One line: "shunt SUB: what: why; what to do". Returns `status`, for `return complain(...)`. */
int complain(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Subcommands. argv[0] is the subcommand's name. The result is the exit status. */
int cmd_run(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_switch(int argc, char **argv); /* off, on */
int cmd_tower(int argc, char **argv);
int cmd_ab(int argc, char **argv);
int cmd_ep(int argc, char **argv);
int cmd_rules(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_unit(int argc, char **argv);
int cmd_gc(int argc, char **argv);

/* libshunt.so beside the command (the build folder), or ../lib/shunt/ of it (installed). 0 or -errno. */
int cmd_find_lib(char lib[PATH_MAX]);
/* Where execvp() will find `name`; "" if nowhere. */
void cmd_resolve(const char *name, char path[PATH_MAX]);

/* --json: print the value, which is ours now, and an end of line; or say that this build cannot. An exit status. */
struct json_t;
int json_out(struct json_t *value);
int json_missing(void);

#endif
