/* SPDX-License-Identifier: BSD-2-Clause */
/* peer.cpp (Cap'n Proto RPC) - one thread a side, around an edge-triggered epoll set. See peer.hpp. */
#include <capnp/ez-rpc.h>

#include <vector>

#include "../peer.hpp"
#include "echo.capnp.h"

struct Server : Echo::Server {
	kj::Promise<void> ping(PingContext) override { return kj::READY_NOW; }
	kj::Promise<void> echo(EchoContext context) override
	{
		context.getResults().setData(context.getParams().getData());
		return kj::READY_NOW;
	}
	kj::Promise<void> self(SelfContext context) override
	{
		context.getResults().setEcho(thisCap());
		return kj::READY_NOW;
	}
};

static kj::Promise<capnp::Response<Echo::EchoResults>> call(Echo::Client &echo, const std::string &data)
{
	auto req = echo.echoRequest();

	req.setData(kj::arrayPtr(reinterpret_cast<const kj::byte *>(data.data()), data.size()));
	return req.send();
}

static std::string text(capnp::Data::Reader d)
{
	return std::string(reinterpret_cast<const char *>(d.begin()), d.size());
}

static void check(Echo::Client &echo, kj::WaitScope &scope, int n)
{
	std::vector<kj::Promise<capnp::Response<Echo::EchoResults>>> under_way;

	for (int i = 0; i < n; i++)
		echo.pingRequest().send().wait(scope);
	printf("ping: %d\n", n);
	echoes("echo", n, [&](const std::string &data) { return text(call(echo, data).wait(scope).getData()); });
	for (int i = 0; i < n; i++)
		under_way.push_back(call(echo, octets(1024, unsigned(i))));
	for (int i = 0; i < n; i++)
		expect(text(under_way[size_t(i)].wait(scope).getData()) == octets(1024, unsigned(i)), "at once");
	printf("at once: %d\n", n);
	for (int i = 0; i < n; i++) { /* a call on what another call will return */
		auto promised = echo.selfRequest().send().getEcho();
		expect(text(call(promised, octets(64, unsigned(i))).wait(scope).getData()) == octets(64, unsigned(i)), "pipelined");
	}
	printf("pipelined: %d\n", n);
}

int main(int argc, char **argv)
{
	options o = parse(argc, argv);

	if (o.server) {
		capnp::EzRpcServer server(kj::heap<Server>(), "127.0.0.1", 0);
		auto &scope = server.getWaitScope();
		say_port(int(server.getPort().wait(scope)));
		kj::NEVER_DONE.wait(scope);
	}
	capnp::EzRpcClient client("127.0.0.1", unsigned(o.port));
	Echo::Client echo = client.getMain<Echo>();
	auto &scope = client.getWaitScope();
	std::string data = octets(o.len, 1);

	if (o.n)
		check(echo, scope, o.n);
	else if (o.mode == "ping")
		rate(o.ms, [&] { echo.pingRequest().send().wait(scope); });
	else
		rate(o.ms, [&] { call(echo, data).wait(scope); });
	return 0;
}
