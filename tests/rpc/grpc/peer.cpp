/* SPDX-License-Identifier: BSD-2-Clause */
/* peer.cpp (gRPC) - unary calls and streams in all directions, with the library's own threads and its edge-triggered epoll. See peer.hpp. */
#include <grpcpp/grpcpp.h>

#include <thread>
#include <vector>

#include "../peer.hpp"
#include "echo.pb.cc"
#include "echo.grpc.pb.cc"

using grpc::ClientContext;
using grpc::ServerContext;
using grpc::Status;

struct Service : Echo::Service {
	Status Unary(ServerContext *, const Blob *in, Blob *out) override
	{
		out->set_data(in->data());
		return Status::OK;
	}
	Status Down(ServerContext *, const Blob *in, grpc::ServerWriter<Blob> *out) override
	{
		for (unsigned i = 0; i < in->times(); i++)
			out->Write(*in);
		return Status::OK;
	}
	Status Up(ServerContext *, grpc::ServerReader<Blob> *in, Blob *out) override
	{
		Blob b;
		while (in->Read(&b))
			out->mutable_data()->append(b.data());
		return Status::OK;
	}
	Status Both(ServerContext *, grpc::ServerReaderWriter<Blob, Blob> *io) override
	{
		Blob b;
		while (io->Read(&b))
			io->Write(b);
		return Status::OK;
	}
};

static std::string unary(Echo::Stub &stub, const std::string &data)
{
	ClientContext ctx;
	Blob in, out;

	in.set_data(data);
	Status st = stub.Unary(&ctx, in, &out);
	if (!st.ok())
		die("unary: " + st.error_message());
	return out.data();
}

static void down(Echo::Stub &stub, int n)
{
	ClientContext ctx;
	Blob in, out;
	int got = 0;

	in.set_data(octets(1000, 5));
	in.set_times(unsigned(n));
	auto r = stub.Down(&ctx, in);
	for (; r->Read(&out); got++)
		expect(out.data() == in.data(), "down");
	expect(r->Finish().ok() && got == n, "down");
	printf("down: %d\n", n);
}

static void up(Echo::Stub &stub, int n)
{
	ClientContext ctx;
	Blob in, out;
	std::string want;
	auto w = stub.Up(&ctx, &out);

	for (int i = 0; i < n; i++) {
		in.set_data(octets(1000, unsigned(i)));
		want += in.data();
		expect(w->Write(in), "up");
	}
	w->WritesDone();
	expect(w->Finish().ok() && out.data() == want, "up");
	printf("up: %d\n", n);
}

static void both(Echo::Stub &stub, int n)
{
	ClientContext ctx;
	Blob in, out;
	auto io = stub.Both(&ctx);

	for (int i = 0; i < n; i++) {
		in.set_data(octets(100, unsigned(i)));
		expect(io->Write(in) && io->Read(&out) && out.data() == in.data(), "both");
	}
	io->WritesDone();
	expect(!io->Read(&out) && io->Finish().ok(), "both");
	printf("both: %d\n", n);
}

static void check(Echo::Stub &stub, int n)
{
	std::vector<std::thread> threads;

	echoes("unary", n, [&](const std::string &data) { return unary(stub, data); });
	down(stub, n);
	up(stub, n);
	both(stub, n);
	for (unsigned t = 0; t < 4; t++)
		threads.emplace_back([&stub, n, t] {
			for (int i = 0; i < n; i++)
				expect(unary(stub, octets(512, unsigned(i) + t)) == octets(512, unsigned(i) + t), "four threads");
		});
	for (auto &t : threads)
		t.join();
	printf("four threads: %d\n", n);
}

int main(int argc, char **argv)
{
	options o = parse(argc, argv);

	if (o.server) {
		Service service;
		grpc::ServerBuilder builder;
		int port = 0;
		builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
		builder.RegisterService(&service);
		auto server = builder.BuildAndStart();
		say_port(port);
		server->Wait();
	}
	auto stub = Echo::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(o.port), grpc::InsecureChannelCredentials()));
	std::string data = octets(o.len, 1);

	if (o.n) {
		check(*stub, o.n);
	} else if (o.mode == "unary") {
		rate(o.ms, [&] { unary(*stub, data); });
	} else {
		ClientContext ctx;
		Blob in, out;
		auto io = stub->Both(&ctx);
		in.set_data(data);
		rate(o.ms, [&] { expect(io->Write(in) && io->Read(&out), "both"); });
		io->WritesDone();
		io->Finish();
	}
	return 0;
}
