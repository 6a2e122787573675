/* SPDX-License-Identifier: BSD-2-Clause */
/* tower.c - shunt tower: a string binding as a protocol tower, octet by octet and floor by floor, and back. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd.h"
#include "table.h"
#include "twr.h"

#define MAX_OCTETS 65536 /* of a tower to decode; none that we know has a thousand */

static int usage(void)
{
	puts("usage: shunt tower [--interface UUID[:VERSION]] [--transfer UUID[:VERSION]]\n"
	     "                   BINDING\n"
	     "       shunt tower --decode HEX...\n"
	     "\n"
	     "Prints the protocol tower of a DCE string binding in hexadecimal digits, and its\n"
	     "floors in words; octets are numbered from 0. Or the binding of a tower.\n"
	     "\n"
	     "A BINDING is one of these, without object UUID and options:\n"
	     "  ncadg_sm[id=UID,ftok=PATH]   a server of shunt's; in PATH, \\ before , ] = \\\n"
	     "  ncacn_ip_tcp:HOST[PORT]      HOST an IPv4 number, or a name that is looked up\n"
	     "  ncadg_ip_udp:HOST[PORT]\n"
	     "  ncalrpc:[NAME]\n"
	     "  ncacn_np:HOST[\\pipe\\NAME]\n"
	     "\n"
	     "  --interface UUID[:VERSION]  the interface, VERSION being MAJOR[.MINOR]\n"
	     "  --transfer UUID[:VERSION]   the transfer syntax (NDR 2.0)\n"
	     "  --help                      this text\n"
	     "\n"
	     "Exit status: 0, or 125 if an error occurs.\n"
	     "\n"
	     "  shunt tower --interface e1af8308-5d1f-11c9-91a4-08002b14a0fa:3.0 \\\n"
	     "              'ncacn_ip_tcp:127.0.0.1[135]'\n"
	     "  shunt tower --decode $(shunt tower 'ncadg_sm[id=0,ftok=/tmp/x]' | head -n 1)");
	return 0;
}

/* What a tower says may come from anybody: nothing of it reaches a terminal as a command. */
static void put_text(FILE *to, const uint8_t *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		fputc(isprint(text[i]) ? text[i] : '?', to);
}

/* ---- floors in words ---- */

static const char *proto_word(unsigned proto)
{
	switch (proto) {
	case TWR_TCP:
		return "TCP";
	case TWR_UDP:
		return "UDP";
	case TWR_IP:
		return "IP";
	case TWR_RPC_CL:
		return "RPC, connectionless";
	case TWR_RPC_CO:
		return "RPC, connection-oriented";
	case TWR_RPC_LOCAL:
		return "RPC, local";
	case TWR_SMB:
		return "named pipe (SMB)";
	case TWR_PIPE:
		return "named pipe (local)";
	case TWR_NETBIOS:
		return "host (NetBIOS)";
	default:
		return "unknown";
	}
}

static unsigned le16(const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* The tower has been parsed: lengths are as they should be. */
static void put_rhs(FILE *to, unsigned n, const struct twr_flr *f)
{
	const uint8_t *r = f->rhs;

	switch (f->lhs[0]) {
	case TWR_TCP:
	case TWR_UDP:
		fprintf(to, "port %u", be16(r));
		break;
	case TWR_IP:
		fprintf(to, "address %u.%u.%u.%u", r[0], r[1], r[2], r[3]);
		break;
	case TWR_UUID:
		fprintf(to, "minor version %u", le16(r));
		if (n == 4) {
			fprintf(to, ", uid %u, path ", be16(r + 2) << 16 | be16(r + 4));
			put_text(to, r + 6, f->rhs_len - 6u);
		}
		break;
	case TWR_SMB:
	case TWR_PIPE:
	case TWR_NETBIOS:
		fputs("name ", to);
		put_text(to, r, f->rhs_len - 1u);
		break;
	default:
		fprintf(to, "minor version %u", le16(r));
	}
}

static void put_floor(FILE *to, unsigned n, const struct twr_flr *f)
{
	static const char *const what[] = {NULL, "interface", "transfer syntax", "protocol", "endpoint", "address"};
	char text[TWR_SYNTAX_STR_LEN];
	struct twr_syntax s;
	size_t end = f->at + 4u + f->lhs_len + f->rhs_len;

	fprintf(to, "floor %u  octets %3zu-%-3zu  %-15s  ", n, f->at, end - 1, what[n]);
	if (f->lhs[0] == TWR_UUID) {
		twr_syntax_get(&s, f->lhs);
		twr_syntax_compose(&s, text);
		text[36] = '\0'; /* the UUID alone */
		fprintf(to, "0d UUID %s%s, version %u", text, n == 4 ? " (ncadg_sm)" : "", s.major);
	} else {
		fprintf(to, "%02x %s", f->lhs[0], proto_word(f->lhs[0]));
	}
	fputs(" | ", to);
	put_rhs(to, n, f);
}

static void print_floor(unsigned n, const struct twr_flr *f)
{
	char *line = NULL;
	size_t len;
	FILE *to = open_memstream(&line, &len);

	if (to) {
		put_floor(to, n, f);
		fclose(to);
	}
	if (line)
		print_line(line, 9);
	free(line);
}

static void print_floors(const uint8_t *oct, size_t len)
{
	char why[TWR_WHY_LEN];
	int n = twr_count(oct, len, why);
	struct twr_flr f;
	size_t at = 2;

	for (int i = 1; i <= n && !twr_flr_next(&f, (unsigned)i, oct, len, &at, why); i++)
		print_floor((unsigned)i, &f);
}

static int finish(void)
{
	return fflush(stdout) ? complain(EXIT_SHUNT, "output: %s", strerror(errno)) : 0;
}

/* ---- binding to tower ---- */

/* A name becomes a number: towers hold numbers, and of IPv4 only. */
static int resolve(struct strbnd *b)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *ai;
	struct in_addr ip;
	int err;

	if ((b->protseq != PROTSEQ_NCADG_IP_UDP && b->protseq != PROTSEQ_NCACN_IP_TCP) || !b->host[0])
		return 0;
	if (inet_pton(AF_INET, b->host, &ip) == 1)
		return 0;
	if (strchr(b->host, ':'))
		return complain(EXIT_SHUNT, "%s: no floor is registered for IPv6 addresses; give an IPv4 one", b->host);
	err = getaddrinfo(b->host, NULL, &hints, &ai);
	if (err)
		return complain(EXIT_SHUNT, "%s: %s; give an IPv4 number", b->host, gai_strerror(err));
	inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)ai->ai_addr)->sin_addr, b->host, sizeof(b->host));
	freeaddrinfo(ai);
	return 0;
}

static int encode(struct twr *t, const char *str)
{
	char why[STRBND_WHY_LEN];
	uint8_t oct[TWR_LEN];
	char hex[2 * TWR_LEN + 1] = "";
	int err, len;

	if (strbnd_parse(&t->bnd, str, why))
		return complain(EXIT_SHUNT, "%s: %s", str, why);
	err = resolve(&t->bnd);
	if (err)
		return err;
	len = twr_compose(t, oct, sizeof(oct));
	if (len < 0)
		return complain(EXIT_SHUNT, "%s: %s; see `shunt tower --help`", str, strerror(-len));
	for (int i = 0; i < len; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", oct[i]);
	print_line(hex, 0);
	print_floors(oct, (size_t)len);
	return finish();
}

/* ---- tower to binding ---- */

/* Digits of all arguments, as if they were one. Number of octets, or the status of a complaint, negative. */
static int get_hex(uint8_t oct[MAX_OCTETS], char **argv)
{
	size_t n = 0;

	for (; *argv; argv++)
		for (const char *p = *argv; *p; p++) {
			if (isspace((unsigned char)*p) || *p == ':')
				continue;
			if (!isxdigit((unsigned char)*p))
				return -complain(EXIT_SHUNT, "--decode: digit %zu, `%c`, is not hexadecimal", n + 1,
					isprint((unsigned char)*p) ? *p : '?');
			if (n == (size_t)2 * MAX_OCTETS)
				return -complain(EXIT_SHUNT, "--decode: more than %d octets", MAX_OCTETS);
			oct[n / 2] = (uint8_t)(oct[n / 2] << 4 |
					       (isdigit((unsigned char)*p) ? *p - '0' : (*p | 32) - 'a' + 10));
			n++;
		}
	if (n % 2)
		return -complain(EXIT_SHUNT, "--decode: %zu digits: half an octet is missing", n);
	return (int)(n / 2);
}

static int decode(char **argv)
{
	static uint8_t oct[MAX_OCTETS];
	char why[TWR_WHY_LEN], str[STRBND_LEN];
	struct twr t;
	int len = get_hex(oct, argv);
	size_t n = (size_t)(len < 0 ? 0 : len);

	if (len < 0)
		return -len;
	if (twr_parse(&t, oct, n, why))
		return complain(EXIT_SHUNT, "--decode: %s", why);
	len = strbnd_compose(&t.bnd, str, sizeof(str));
	if (len < 0)
		return complain(EXIT_SHUNT, "--decode: %s", strerror(-len));
	for (char *p = str; isatty(STDOUT_FILENO) && *p; p++) /* a script wants it as it is */
		if (!isprint((unsigned char)*p))
			*p = '?';
	print_line(str, 0);
	print_floors(oct, n);
	return finish();
}

static int get_syntax(struct twr_syntax *s, const char *option)
{
	return twr_syntax_parse(s, optarg)
		       ? complain(EXIT_SHUNT, "%s %s: give UUID, UUID:MAJOR or UUID:MAJOR.MINOR", option, optarg)
		       : 0;
}

int cmd_tower(int argc, char **argv)
{
	static const struct option opts[] = {{"interface", required_argument, NULL, 'i'},
		{"transfer", required_argument, NULL, 't'}, {"decode", no_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'}, {0}};
	struct twr t = {.xfer = twr_ndr};
	int o, err = 0, decodes = 0, syntax = 0;

	opterr = 0;
	while (!err && (o = getopt_long(argc, argv, "+:h", opts, NULL)) != -1)
		switch (o) {
		case 'i':
			err = get_syntax(&t.iface, "--interface");
			syntax = 1;
			break;
		case 't':
			err = get_syntax(&t.xfer, "--transfer");
			syntax = 1;
			break;
		case 'd':
			decodes = 1;
			break;
		case 'h':
			return usage();
		case ':':
			return complain(EXIT_SHUNT, "%s: needs a value; see `shunt tower --help`", argv[optind - 1]);
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt tower --help`", argv[optind - 1]);
		}
	if (err)
		return err;
	if (decodes && syntax)
		return complain(
			EXIT_SHUNT, "--decode: the tower tells interface and transfer syntax itself; see `shunt tower --help`");
	if (optind == argc || (!decodes && optind + 1 != argc))
		return complain(EXIT_SHUNT, "give %s; see `shunt tower --help`", decodes ? "the octets" : "one string binding");
	return decodes ? decode(argv + optind) : encode(&t, argv[optind]);
}
