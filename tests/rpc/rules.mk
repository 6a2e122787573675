# SPDX-License-Identifier: BSD-2-Clause
#
# rules.mk: the RPC programs of bats/ and of the bench, one folder a system. Those whose packages are not there are left out. They are not
# sanitized (the libraries are not), and not optimized: what is measured are the libraries.

ifeq ($(SAN),)
rpc_dir  := $(B)/tests/rpc
rpc_can   = $(and $(shell command -v $(2)),$(wildcard /usr/include/$(3)),$(1))
rpc_sys  := $(call rpc_can,thrift,thrift,thrift/server/TNonblockingServer.h) $(call rpc_can,capnp,capnp,capnp/ez-rpc.h) \
	$(call rpc_can,grpc,grpc_cpp_plugin,grpcpp/grpcpp.h) $(call rpc_can,zmq,true,zmq.h)
rpc_peer := $(patsubst %,$(rpc_dir)/%/peer,$(rpc_sys))
RPC_CXX   = $(CXX) -std=c++17 -O0 -w -pthread -I$(@D)
endif

$(rpc_peer): tests/rpc/peer.hpp
$(B)/tests/rpc/%: tests/rpc/%.cpp
	@mkdir -p $(@D)
	$(rpc_gen)
	$(RPC_CXX) -o $@ $< $(rpc_src) $(rpc_libs)

$(B)/tests/rpc/thrift/peer: rpc_gen  = thrift --gen cpp:no_skeleton -out $(@D) tests/rpc/thrift/echo.thrift
$(B)/tests/rpc/thrift/peer: rpc_libs = -lthriftnb -lthrift -levent
$(B)/tests/rpc/thrift/peer: tests/rpc/thrift/echo.thrift
$(B)/tests/rpc/capnp/peer: rpc_gen  = capnp compile -oc++:$(@D) --src-prefix=tests/rpc/capnp tests/rpc/capnp/echo.capnp
$(B)/tests/rpc/capnp/peer: rpc_src  = -x c++ $(@D)/echo.capnp.c++ -x none
$(B)/tests/rpc/capnp/peer: rpc_libs = -lcapnp-rpc -lcapnp -lkj-async -lkj
$(B)/tests/rpc/capnp/peer: tests/rpc/capnp/echo.capnp
$(B)/tests/rpc/grpc/peer: rpc_gen  = protoc --cpp_out=$(@D) --grpc_out=$(@D) --plugin=protoc-gen-grpc=`command -v grpc_cpp_plugin` -I tests/rpc/grpc echo.proto
$(B)/tests/rpc/grpc/peer: rpc_libs = -lgrpc++ -lgrpc -lgpr -lprotobuf -labsl_synchronization
$(B)/tests/rpc/grpc/peer: tests/rpc/grpc/echo.proto
$(B)/tests/rpc/zmq/peer: rpc_libs = -lzmq
