/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.cpp (ZeroMQ) - the server answers requests, and publishes what is pushed to it; the client asks, and pushes and listens. Each side has
 * a thread of the library's for its sockets, and eventfds between that and its own. See peer.hpp.
 */
#include <zmq.h>

#include <cerrno>
#include <cstring>

#include "../peer.hpp"

static void *context;

static void *make(int type)
{
	void *s = zmq_socket(context, type);
	int none = 0;

	if (!s || zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof(none)))
		die("zmq_socket");
	return s;
}

static int bind_to(void *s)
{
	char name[64];
	size_t len = sizeof(name);

	if (zmq_bind(s, "tcp://127.0.0.1:*") || zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, name, &len))
		die(std::string("zmq_bind: ") + zmq_strerror(errno));
	return atoi(strrchr(name, ':') + 1);
}

static void connect_to(void *s, int port)
{
	if (zmq_connect(s, ("tcp://127.0.0.1:" + std::to_string(port)).c_str()))
		die("zmq_connect");
}

static void put(void *s, const std::string &data)
{
	if (zmq_send(s, data.data(), data.size(), 0) != int(data.size()))
		die(std::string("zmq_send: ") + zmq_strerror(errno));
}

static std::string get(void *s)
{
	zmq_msg_t m;

	zmq_msg_init(&m);
	if (zmq_msg_recv(&m, s, 0) < 0)
		die(std::string("zmq_recv: ") + zmq_strerror(errno));
	std::string data(static_cast<char *>(zmq_msg_data(&m)), zmq_msg_size(&m));
	zmq_msg_close(&m);
	return data;
}

static void serve()
{
	void *rep = make(ZMQ_REP), *pull = make(ZMQ_PULL), *pub = make(ZMQ_PUB);
	int port = bind_to(rep);
	const int none = 0;

	/* No limit: the publisher drops what is beyond, and learns late of what has been read. */
	zmq_setsockopt(pub, ZMQ_SNDHWM, &none, sizeof(none));
	std::string ports = std::to_string(bind_to(pull)) + " " + std::to_string(bind_to(pub));
	zmq_pollitem_t items[] = {{rep, 0, ZMQ_POLLIN, 0}, {pull, 0, ZMQ_POLLIN, 0}};

	say_port(port);
	for (;;) {
		zmq_poll(items, 2, -1);
		if (items[0].revents) {
			std::string data = get(rep);
			put(rep, data == "ports?" ? ports : data);
		}
		if (items[1].revents)
			put(pub, get(pull));
	}
}

static std::string ask(void *req, const std::string &data)
{
	put(req, data);
	return get(req);
}

/* What we push comes back published; at most WINDOW messages are under way. */
static void published(void *req, int n)
{
	const int window = 500;
	void *push = make(ZMQ_PUSH), *sub = make(ZMQ_SUB);
	int to = 0, from = 0, soon = 10;
	char byte;

	const int none = 0;

	zmq_setsockopt(sub, ZMQ_RCVHWM, &none, sizeof(none));
	sscanf(ask(req, "ports?").c_str(), "%d %d", &to, &from);
	connect_to(push, to);
	connect_to(sub, from);
	zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "", 0);
	zmq_setsockopt(sub, ZMQ_RCVTIMEO, &soon, sizeof(soon));
	do /* until the subscription is known there */
		put(push, "?");
	while (zmq_recv(sub, &byte, 1, 0) != 1);
	soon = 20000;
	zmq_setsockopt(sub, ZMQ_RCVTIMEO, &soon, sizeof(soon));
	put(push, "!");
	while (byte != '!')
		expect(zmq_recv(sub, &byte, 1, 0) == 1, "subscribed");
	for (int i = 0; i < n + window; i++) {
		if (i < n)
			put(push, octets(200, unsigned(i)));
		if (i >= window)
			expect(get(sub) == octets(200, unsigned(i - window)), "published");
	}
	printf("published: %d\n", n);
	zmq_close(push);
	zmq_close(sub);
}

int main(int argc, char **argv)
{
	options o = parse(argc, argv);

	context = zmq_ctx_new();
	if (o.server)
		serve();
	void *req = make(ZMQ_REQ);
	std::string data = octets(o.len, 1);
	connect_to(req, o.port);
	if (o.n) {
		echoes("echo", o.n, [&](const std::string &d) { return ask(req, d); });
		published(req, 1000);
	} else {
		rate(o.ms, [&] { ask(req, data); });
	}
	zmq_close(req);
	zmq_ctx_term(context);
	return 0;
}
