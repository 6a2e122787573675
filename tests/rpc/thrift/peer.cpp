/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.cpp (Thrift) - a server with a thread for each connection, or (-m event) one that waits for all of them in libevent's loop with worker
 * threads behind it; a blocking client. See peer.hpp.
 */
#include <thrift/concurrency/ThreadFactory.h>
#include <thrift/concurrency/ThreadManager.h>
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/server/TNonblockingServer.h>
#include <thrift/server/TThreadedServer.h>
#include <thrift/transport/TBufferTransports.h>
#include <thrift/transport/TNonblockingServerSocket.h>
#include <thrift/transport/TServerSocket.h>
#include <thrift/transport/TSocket.h>

#include <atomic>
#include <functional>

#include "../peer.hpp"
#include "Echo.cpp"

using namespace apache::thrift;
using namespace apache::thrift::transport;
using std::make_shared;
using std::shared_ptr;

struct Handler : EchoIf {
	std::atomic<int64_t> total{0};

	void ping() override {}
	void echo(std::string &ret, const std::string &data) override { ret = data; }
	void add(int32_t n) override { total += n; }
	int64_t sum() override { return total; }
};

struct Announce : server::TServerEventHandler {
	std::function<int()> port;

	void preServe() override { say_port(port()); }
};

static void serve(bool event)
{
	auto processor = make_shared<EchoProcessor>(make_shared<Handler>());
	auto protocol = make_shared<protocol::TBinaryProtocolFactory>();
	auto announce = make_shared<Announce>();

	if (event) {
		auto socket = make_shared<TNonblockingServerSocket>("127.0.0.1", 0);
		auto threads = concurrency::ThreadManager::newSimpleThreadManager(2);
		threads->threadFactory(make_shared<concurrency::ThreadFactory>());
		threads->start();
		server::TNonblockingServer srv(processor, protocol, socket, threads);
		announce->port = [&] { return socket->getListenPort(); };
		srv.setServerEventHandler(announce);
		srv.serve();
	} else {
		auto socket = make_shared<TServerSocket>("127.0.0.1", 0);
		server::TThreadedServer srv(processor, socket, make_shared<TFramedTransportFactory>(), protocol);
		announce->port = [&] { return socket->getPort(); };
		srv.setServerEventHandler(announce);
		srv.serve();
	}
}

static void check(EchoClient &c, int n)
{
	int64_t want = c.sum();

	for (int i = 0; i < n; i++)
		c.ping();
	printf("ping: %d\n", n);
	echoes("echo", n, [&](const std::string &data) {
		std::string got;
		c.echo(got, data);
		return got;
	});
	for (int i = 0; i < n; i++) { /* nobody answers these: they pile up in front of the sum */
		c.add(i);
		want += i;
	}
	for (int i = 0; i < 1000 && c.sum() != want; i++) /* another thread may serve them */
		usleep(1000);
	expect(c.sum() == want, "oneway");
	printf("oneway: %d\n", n);
}

int main(int argc, char **argv)
{
	options o = parse(argc, argv);

	if (o.server) {
		GlobalOutput.setOutputFunction([](const char *) {}); /* it has much to say when it starts */
		serve(o.mode == "event");
		return 0;
	}
	auto socket = make_shared<TSocket>("127.0.0.1", o.port);
	auto framed = make_shared<TFramedTransport>(socket);
	EchoClient c(make_shared<protocol::TBinaryProtocol>(framed));
	std::string got, data = octets(o.len, 1);

	framed->open();
	if (o.n)
		check(c, o.n);
	else if (o.mode == "ping")
		rate(o.ms, [&] { c.ping(); });
	else
		rate(o.ms, [&] { c.echo(got, data); });
	framed->close();
	return 0;
}
