/* SPDX-License-Identifier: BSD-2-Clause */
/* act_net.c - sockets, their names and their options. */
#include "actor.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say_own(int fd)
{
	struct sockaddr_storage own;
	socklen_t len = sizeof(own);

	if (!getsockname(fd, (void *)&own, &len))
		say_address(&own, len);
}

/* socket SLOT FAMILY TYPE FLAGS(1 nonblocking, 2 close-on-exec) */
static void act_socket(const struct command *c)
{
	int one = 1;
	int flags = (c->arg[3] & 1 ? SOCK_NONBLOCK : 0) | (c->arg[3] & 2 ? SOCK_CLOEXEC : 0);
	int fd = socket(c->arg[1] == 4 ? AF_INET : AF_INET6, (c->arg[2] == 1 ? SOCK_STREAM : SOCK_DGRAM) | flags, 0);

	say_descriptor(fd);
	set_slot(c->arg[0], fd);
	/* What was sent has arrived: no small message waits for an acknowledgement. Accepted sockets inherit it. */
	if (fd >= 0 && c->arg[2] == 1)
		say_result(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
}

/* bind SLOT FAMILY WILD */
static void act_bind(const struct command *c)
{
	struct sockaddr_storage at;
	int fd = slot(c->arg[0]);

	say_result(bind(fd, (void *)&at, make_address(&at, c->arg[1], 0, c->arg[2])));
	say_own(fd);
}

static void act_listen(const struct command *c)
{
	say_result(listen(slot(c->arg[0]), (int)c->arg[1]));
}

/* connect SLOT FAMILY PORT */
static void act_connect(const struct command *c)
{
	struct sockaddr_storage at;
	int fd = slot(c->arg[0]);

	say_result(connect(fd, (void *)&at, make_address(&at, c->arg[1], c->arg[2], 0)));
	say_own(fd);
}

/* accept LISTENER SLOT HOW(0 accept, 1 accept4, 2 by number) FLAGS */
static void act_accept(const struct command *c)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);
	int flags = (c->arg[3] & 1 ? SOCK_NONBLOCK : 0) | (c->arg[3] & 2 ? SOCK_CLOEXEC : 0), fd;

	if (c->arg[2] == 0)
		fd = accept(slot(c->arg[0]), (void *)&from, &len);
	else if (c->arg[2] == 1)
		fd = accept4(slot(c->arg[0]), (void *)&from, &len, flags);
	else
		fd = (int)syscall(SYS_accept4, slot(c->arg[0]), &from, &len, flags);
	say_descriptor(fd);
	set_slot(c->arg[1], fd);
	if (fd >= 0)
		say_address(&from, len);
}

/* name SLOT WHICH(0 own, 1 peer) */
static void act_name(const struct command *c)
{
	struct sockaddr_storage at = {0};
	socklen_t len = sizeof(at);
	int r = c->arg[1] ? getpeername(slot(c->arg[0]), (void *)&at, &len) : getsockname(slot(c->arg[0]), (void *)&at, &len);

	say_result(r);
	if (!r)
		say_address(&at, len);
}

/* The options that program.py knows by their place here. */
static const struct {
	int level, name;
} options[] = {
	{SOL_SOCKET, SO_ERROR},
	{SOL_SOCKET, SO_TYPE},
	{SOL_SOCKET, SO_DOMAIN},
	{SOL_SOCKET, SO_PROTOCOL},
	{SOL_SOCKET, SO_ACCEPTCONN},
	{SOL_SOCKET, SO_RCVLOWAT},
	{SOL_SOCKET, SO_KEEPALIVE},
	{SOL_SOCKET, SO_REUSEADDR},
	{SOL_SOCKET, SO_OOBINLINE},
	{IPPROTO_TCP, TCP_NODELAY},
	{SOL_SOCKET, SO_RCVBUF},
	{SOL_SOCKET, SO_PRIORITY},
	{IPPROTO_TCP, TCP_QUICKACK},
};

/* getopt SLOT OPTION */
static void act_getopt(const struct command *c)
{
	int value = 0, r;
	socklen_t len = sizeof(value);

	r = getsockopt(slot(c->arg[0]), options[c->arg[1]].level, options[c->arg[1]].name, &value, &len);
	say_result(r);
	if (!r && options[c->arg[1]].name == SO_ERROR && value)
		value = 1000 + value;
	if (!r)
		say(" %d", value);
}

/* setopt SLOT OPTION VALUE */
static void act_setopt(const struct command *c)
{
	int value = (int)c->arg[2];

	say_result(setsockopt(slot(c->arg[0]), options[c->arg[1]].level, options[c->arg[1]].name, &value, sizeof(value)));
}

/* timeo SLOT MS: SO_RCVTIMEO */
static void act_timeo(const struct command *c)
{
	struct timeval tv = {c->arg[1] / 1000, c->arg[1] % 1000 * 1000};

	say_result(setsockopt(slot(c->arg[0]), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
}

/* linger SLOT: SO_LINGER 0 */
static void act_linger(const struct command *c)
{
	struct linger l = {1, 0};

	say_result(setsockopt(slot(c->arg[0]), SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
}

/* shut SLOT HOW */
static void act_shut(const struct command *c)
{
	if (c->arg[2])
		say_result(syscall(SYS_shutdown, slot(c->arg[0]), (int)c->arg[1]));
	else
		say_result(shutdown(slot(c->arg[0]), (int)c->arg[1]));
}

const struct word net_words[] = {
	{"socket", act_socket},
	{"bind", act_bind},
	{"listen", act_listen},
	{"connect", act_connect},
	{"accept", act_accept},
	{"name", act_name},
	{"getopt", act_getopt},
	{"setopt", act_setopt},
	{"timeo", act_timeo},
	{"linger", act_linger},
	{"shut", act_shut},
	{NULL, NULL},
};
