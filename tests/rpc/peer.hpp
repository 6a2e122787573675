/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.hpp - what the RPC programs share. Each is server and client in one, plain, and knows nothing of shunt:
 *
 *   PROGRAM server                                          prints "port N", serves until it is killed
 *   PROGRAM client -p PORT -n N                             N calls of each kind, every octet compared; prints what it has done
 *   PROGRAM client -p PORT -m MODE [-s LEN] [-t MS]         calls of one kind for so long; prints "rate CALLS-PER-SECOND"
 */
#ifndef RPC_PEER_HPP
#define RPC_PEER_HPP

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

struct options {
	bool server = false;
	int port = 0, n = 0, ms = 500;
	size_t len = 0;
	std::string mode;
};

static inline options parse(int argc, char **argv)
{
	options o;
	int c;
	std::string role = argc > 1 ? argv[1] : "";

	while (argc > 1 && (c = getopt(argc - 1, argv + 1, "p:n:m:s:t:")) != -1)
		switch (c) {
		case 'p': o.port = atoi(optarg); break;
		case 'n': o.n = atoi(optarg); break;
		case 'm': o.mode = optarg; break;
		case 's': o.len = strtoul(optarg, nullptr, 10); break;
		case 't': o.ms = atoi(optarg); break;
		default: role = "";
		}
	o.server = role == "server";
	if (!o.server && (role != "client" || !o.port || (!o.n && o.mode.empty()))) {
		fputs("usage: server [-m MODE] | client -p PORT {-n N | -m MODE [-s LEN] [-t MS]}\n", stderr);
		exit(2);
	}
	return o;
}

/* Octets that differ from call to call and from place to place. */
static inline std::string octets(size_t len, unsigned call)
{
	std::string s(len, 0);

	for (size_t i = 0; i < len; i++)
		s[i] = char(i * 7 + (i >> 8) + call);
	return s;
}

[[noreturn]] static inline void die(const std::string &why)
{
	fprintf(stderr, "%s\n", why.c_str());
	exit(1);
}

static inline void expect(bool is_true, const char *what)
{
	if (!is_true)
		die(std::string(what) + ": not as it should be");
}

static const size_t sizes[] = {0, 1, 1024, 65536, 1048577};

/* n calls of each size, fewer of the large ones. */
template <class Echo> static void echoes(const char *name, int n, Echo echo)
{
	for (size_t len : sizes) {
		int times = len > 100000 ? 3 : n;

		for (int i = 0; i < times; i++)
			expect(echo(octets(len, unsigned(i))) == octets(len, unsigned(i)), name);
		printf("%s %zu: %d\n", name, len, times);
	}
}

/* Calls for ms, behind a fifth of that to warm up. */
template <class Call> static void rate(int ms, Call call)
{
	using clock = std::chrono::steady_clock;
	auto start = clock::now(), from = start;
	bool warm = false;
	double t = 0;
	long n = 0;

	while (t < ms / 1000.0) {
		call();
		if (++n % 16)
			continue;
		auto now = clock::now();
		if (!warm && now - start >= std::chrono::milliseconds(ms / 5)) {
			warm = true;
			from = now;
			n = 0;
		}
		if (warm)
			t = std::chrono::duration<double>(now - from).count();
	}
	printf("rate %.1f\n", double(n) / t);
}

static inline void say_port(int port)
{
	printf("port %d\n", port);
	fflush(stdout);
}

#endif
