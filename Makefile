# SPDX-License-Identifier: BSD-2-Clause
#
#   make                         build/libshunt.so, build/shunt, build/libncadg_sm.a
#   make check | demo | bench    all tests | two commands to see it work | the figures
#   make lint | format | soak    what tools can find | as clang-format has it | the long tests
#   make conformance             the socket tests of CPython and GLib, without shunt and under it; takes long
#   make cross                   built for aarch64 and run on an emulated machine (tests/cross.sh says what it wants)
#   make fuzz SECONDS=60         the fuzz targets for so long each (make check: a few seconds)
#   make install | uninstall     PREFIX=/usr/local DESTDIR=
#   make SAN=address,undefined   (or SAN=thread) into a build folder of its own
#   make FAULTS=1                likewise: a library that can be made to die at many points (core/fault.h), for tests alone

PREFIX  ?= /usr/local
DESTDIR ?=
BINDIR   = $(DESTDIR)$(PREFIX)/bin
LIBDIR   = $(DESTDIR)$(PREFIX)/lib
INCDIR   = $(DESTDIR)$(PREFIX)/include
SHAREDIR = $(DESTDIR)$(PREFIX)/share
MANDIR   = $(SHAREDIR)/man

VERSION := 0.1.0
SAN     ?=
FAULTS  ?=
CC      ?= cc
CFLAGS  ?= -O2 -g
comma   := ,
B       := build$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(FAULTS),-faults)

# A header that is not there leaves something out and is said so; make check and make demo install it when they may.
has = $(shell echo '\#include <$(1)>' | $(CC) $(2) -E -x c - >/dev/null 2>&1 && echo y)
HAVE_JANSSON := $(call has,jansson.h)
HAVE_AB      := $(and $(HAVE_JANSSON),$(call has,gsl/gsl_rng.h))
HAVE_SDT     := $(call has,sys/sdt.h)
HAVE_CMOCKA  := $(wildcard /usr/include/cmocka.h /usr/local/include/cmocka.h)
HAVE_TIRPC   := $(and $(call has,rpc/rpc.h,-I/usr/include/tirpc),$(shell command -v rpcgen))

WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Werror
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) $(if $(findstring thread,$(SAN)),-Wno-tsan)
# AddressSanitizer's runtime must come before everything else in a program: shunt run preloads it too. ThreadSanitizer's must come behind us: inside
# of its own replacements of blocking calls it takes no notice of atomic operations, and would find races all over our locks.
SAN_LIB  := $(if $(findstring address,$(SAN)),$(realpath $(shell $(CC) -print-file-name=libasan.so)))
ALL_C    := -std=gnu11 -D_GNU_SOURCE $(CPPFLAGS) $(CFLAGS) $(WARN) $(SANFLAGS) $(if $(FAULTS),-DSHUNT_FAULTS) -pthread -MMD -MP -DSHUNT_VERSION='"$(VERSION)"'
# -iquote: preload/link.h must not be found for <link.h>.
INC      := -Iinclude -iquote core -iquote preload
# The interposer defines the names that _FORTIFY_SOURCE would turn into inline functions.
LIB_C    := -fPIC -fvisibility=hidden -U_FORTIFY_SOURCE $(INC)
SO_LD    := -shared -Wl,-z,now -Wl,-z,relro -Wl,--version-script=$(B)/syscalls.map $(if $(SAN),,-Wl,-z,defs)

core_o    := $(patsubst %.c,$(B)/%.o,$(wildcard core/*.c))
so_core_o := $(filter-out $(B)/core/api%,$(core_o))
preload_o := $(patsubst %.c,$(B)/%.o,$(wildcard preload/*.c))
ab_c      := $(wildcard preload/cmd/ab*.c)
cmd_o     := $(patsubst %.c,$(B)/%.o,$(filter-out $(if $(HAVE_AB),,$(ab_c)),$(wildcard preload/cmd/*.c)))
unit_x    := $(patsubst %.c,$(B)/%,$(filter-out $(if $(HAVE_AB),,%/test_ab.c),$(wildcard tests/unit/test_*.c)))
unit_o    := $(patsubst %.c,$(B)/%.o,$(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c)))
fuzz_x    := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
sock_x    := $(patsubst %.c,$(B)/%,$(wildcard tests/sock_*.c))
sock_o    := $(patsubst %.c,$(B)/%.o,$(filter-out tests/sock_%.c,$(wildcard tests/*.c)))
plain_x   := $(patsubst %.c,$(B)/%,$(wildcard tests/progs/*.c tests/bench/*.c))
mortal_x  := $(B)/tests/mortal/mortal
example_x := $(patsubst %.c,$(B)/%,$(wildcard docs/examples/*.c))
rpc_x     := $(if $(HAVE_TIRPC),$(B)/tests/bench/rpc/server $(B)/tests/bench/rpc/client)
tracked_c  = $(wildcard core/*.[ch] include/*.h preload/*.[ch] preload/cmd/*.[ch] tests/*.[ch] tests/*/*.[ch] bats/progs/*.[ch] docs/examples/*.c)

all: $(B)/libshunt.so $(B)/shunt $(B)/libncadg_sm.a

# One build folder, one set of flags: other flags, or a library that has come since, build everything again.
flags := $(CC) $(ALL_C) $(LIB_C) $(SO_LD) jansson=$(HAVE_JANSSON) ab=$(HAVE_AB) sdt=$(HAVE_SDT) tirpc=$(HAVE_TIRPC) san=$(SAN_LIB)
$(shell mkdir -p $(B); echo '$(subst ','\'',$(flags))' | cmp -s - $(B)/flags || echo '$(subst ','\'',$(flags))' >$(B)/flags)

$(B)/core/%.o: core/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(LIB_C) -c -o $@ $<

$(B)/preload/%.o: preload/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(LIB_C) $(if $(HAVE_SDT),-DHAVE_SDT) -ftls-model=initial-exec -c -o $@ $<

$(B)/preload/cmd/%.o: preload/cmd/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(INC) $(if $(HAVE_JANSSON),-DHAVE_JANSSON) $(if $(HAVE_AB),-DHAVE_AB) $(if $(SAN_LIB),-DSAN_LIB='"$(SAN_LIB)"') -c -o $@ $<

# Exported are exactly the names in the one list of interposed functions: lines X(ret, name, (params), (args)).
$(B)/syscalls.map: $(wildcard preload/syscalls.def) $(B)/flags
	@sed -n -e 's/^X([^,(]*, *\([A-Za-z0-9_]*\),.*/\1;/p' -e 's/^Y(\([A-Za-z0-9_]*\))/\1;/p' $(wildcard preload/syscalls.def) /dev/null | LC_ALL=C sort -u >$@.names
	@{ echo '{'; [ ! -s $@.names ] || { echo 'global:'; cat $@.names; }; echo 'local: *; };'; } >$@

# The library's own part of core (api_*) is not for the interposer.
$(B)/libshunt.so: $(so_core_o) $(preload_o) $(B)/syscalls.map
	$(CC) $(ALL_C) $(SO_LD) $(LDFLAGS) -o $@ $(so_core_o) $(preload_o)

$(B)/libncadg_sm.a: $(core_o)
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/shunt: $(cmd_o) $(B)/libncadg_sm.a
	$(CC) $(ALL_C) $(LDFLAGS) -o $@ $^ $(if $(HAVE_JANSSON),-ljansson) $(if $(HAVE_AB),-lgsl -lgslcblas -lm)

# Unit tests: one program a file, linked with core alone. Everything else in tests/ is a plain program that knows nothing of shunt.
$(B)/tests/unit/%.o: tests/unit/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(INC) -c -o $@ $<

$(filter-out %/test_ab,$(unit_x)): %: %.o $(unit_o) $(B)/libncadg_sm.a
	$(CC) $(ALL_C) -o $@ $^ -lcmocka

# A part of the command, when it has been built.
ab_unit := $(if $(HAVE_AB),$(B)/preload/cmd/ab_math.o $(B)/preload/cmd/ab_metric.o)
$(B)/tests/unit/test_ab: $(B)/tests/unit/test_ab.o $(ab_unit)
	$(CC) $(ALL_C) -o $@ $^ -lcmocka -lgsl -lgslcblas -lm

# They start a program under the interposer.
$(B)/tests/unit/test_hostile: | $(B)/libshunt.so $(B)/shunt $(B)/tests/progs/echo_many
$(B)/tests/unit/test_hostile_dg: | $(B)/libshunt.so $(B)/shunt $(B)/tests/progs/echo_dgram

# Fuzz targets, with the driver that needs no libFuzzer; tests/fuzz/run builds them with it too.
$(B)/tests/fuzz/%.o: tests/fuzz/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(INC) -c -o $@ $<

$(fuzz_x): %: %.o $(B)/tests/fuzz/drive.o $(B)/libncadg_sm.a
	$(CC) $(ALL_C) -o $@ $^

# The examples, as a user of the library builds them: its header, its archive, nothing else.
$(example_x): $(B)/%: %.c include/ncadg_sm.h $(B)/libncadg_sm.a $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARN) $(SANFLAGS) -Iinclude -o $@ $< $(B)/libncadg_sm.a -pthread

$(B)/tests/bench/rpc/%.o: tests/bench/rpc/%.c $(B)/tests/bench/rpc/echo.h
	$(CC) $(ALL_C) -Wno-cast-function-type -I$(B)/tests/bench/rpc -I/usr/include/tirpc -c -o $@ $<

# The library wants functions cast (xdrproc_t); and rpcgen's code is not ours to clean of warnings, nor to sanitize.
$(B)/tests/bench/rpc/echo.h: tests/bench/rpc/echo.x $(B)/flags
	@mkdir -p $(@D)
	@cp $< $(@D)/ && cd $(@D) && rm -f echo.h echo_xdr.c && rpcgen -h -o echo.h echo.x && rpcgen -c -o echo_xdr.c echo.x
	$(CC) -O2 -I/usr/include/tirpc -I$(@D) -c -o $(@D)/echo_xdr.o $(@D)/echo_xdr.c

$(rpc_x): %: %.o $(B)/tests/bench/rpc/echo.h
	$(CC) $(ALL_C) -o $@ $< $(@D)/echo_xdr.o -ltirpc

$(B)/tests/%.o: tests/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) -c -o $@ $<

$(sock_x): %: %.o $(sock_o)
	$(CC) $(ALL_C) -o $@ $^

$(plain_x): %: %.o
	$(CC) $(ALL_C) -o $@ $^

$(mortal_x): $(patsubst %.c,$(B)/%.o,$(wildcard tests/mortal/*.c))
	$(CC) $(ALL_C) -o $@ $^

# Libraries for tests alone, in which a file of tests/faults stands in front of some functions: SLOW, for the guard that answers it; EAGER to upgrade; SPOILED, an octet now and then, which the randomised test must find.
$(B)/tests/faults/%.o: tests/faults/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(LIB_C) -ftls-model=initial-exec -c -o $@ $<

wraps_slow    := notify_slow trial_send
wraps_eager   := link_try
wraps_spoiled := rx_recv
fault_so      := $(foreach f,slow eager spoiled,$(B)/$(f)/libshunt.so)

$(fault_so): $(B)/%/libshunt.so: $(B)/tests/faults/%.o $(so_core_o) $(preload_o) $(B)/syscalls.map $(B)/shunt
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(SO_LD) $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(wraps_$*)) -o $@ $(filter %.o,$^)
	cp $(B)/shunt $(@D)/

# The randomised test's process that does as it is told, which knows nothing of shunt; and the operator who switches it off and on.
random_o := $(patsubst %.c,$(B)/%.o,$(wildcard tests/random/act*.c))
$(B)/tests/random/actor: $(random_o)
	$(CC) $(ALL_C) -o $@ $^

$(B)/tests/random/switcher.o: tests/random/switcher.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(INC) -iquote preload/cmd -c -o $@ $<

$(B)/tests/random/switcher: $(B)/tests/random/switcher.o $(B)/preload/cmd/poke.o $(B)/libncadg_sm.a
	$(CC) $(ALL_C) -o $@ $^

include tests/rpc/rules.mk

demo-progs: all $(plain_x)
progs: all $(sock_x) $(plain_x) $(rpc_x) $(rpc_peer) $(example_x) $(fault_so) $(B)/tests/random/actor $(B)/tests/random/switcher
mortal: $(mortal_x)
unit: $(if $(HAVE_CMOCKA),$(unit_x)) $(fuzz_x)

check:
	@B=$(B) SAN=$(SAN) MAKE='$(MAKE)' tests/check.sh

soak:
	@B=$(B) SAN=$(SAN) MAKE='$(MAKE)' SOAK=1 tests/check.sh

cross:
	@tests/cross.sh

conformance:
	@tests/setup.sh conformance || true
	@$(MAKE) --no-print-directory -s SAN=$(SAN) all $(B)/eager/libshunt.so
	@BUILD=$(B) python3 -B tests/conformance/run -j 4

demo:
	@tests/setup.sh demo || true
	@$(MAKE) --no-print-directory -s SAN=$(SAN) demo-progs
	@B=$(B) tests/demo.sh

bench:
	@tests/setup.sh check || true
	@$(MAKE) --no-print-directory -s SAN=$(SAN) progs
	@B=$(B) python3 -B tests/bench/run

lint: all
	@B=$(B) CC='$(CC)' tests/lint.sh $(tracked_c)

format:
	clang-format -i $(tracked_c)

# What goes where, as FOLDER:FILE:NAME; uninstall takes the same away.
files := $(foreach h,$(notdir $(wildcard include/*.h)),$(INCDIR):include/$(h):$(h)) \
	$(LIBDIR):$(B)/libncadg_sm.a:libncadg_sm.a $(LIBDIR)/pkgconfig:$(B)/ncadg_sm.pc:ncadg_sm.pc $(LIBDIR)/tmpfiles.d:preload/cmd/dist/tmpfiles.conf:shunt.conf \
	$(SHAREDIR)/bash-completion/completions:preload/cmd/dist/shunt.bash:shunt $(SHAREDIR)/zsh/site-functions:preload/cmd/dist/_shunt:_shunt \
	$(foreach m,$(notdir $(wildcard docs/*.[1-9])),$(MANDIR)/man$(patsubst .%,%,$(suffix $(m))):docs/$(m):$(m))
part = $(word $(1),$(subst :, ,$(2)))

$(B)/ncadg_sm.pc: preload/cmd/dist/ncadg_sm.pc.in Makefile FORCE
	@sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' $< >$@

install: all $(B)/ncadg_sm.pc
	install -d $(BINDIR) $(LIBDIR)/shunt $(sort $(foreach f,$(files),$(call part,1,$(f))))
	install -m 755 $(B)/shunt $(BINDIR)/shunt
	install -m 755 $(B)/libshunt.so $(LIBDIR)/shunt/libshunt.so
	$(foreach f,$(files),install -m 644 $(call part,2,$(f)) $(call part,1,$(f))/$(call part,3,$(f)) &&) true

uninstall:
	rm -f $(BINDIR)/shunt $(LIBDIR)/shunt/libshunt.so $(foreach f,$(files),$(call part,1,$(f))/$(call part,3,$(f)))
	-rmdir $(LIBDIR)/shunt

clean:
	rm -rf build build-*

fuzz:
	@$(MAKE) --no-print-directory -s SAN=address,undefined unit
	@tests/fuzz/run build-address-undefined $(or $(SECONDS),60)

.PHONY: FORCE all progs mortal demo-progs unit check fuzz soak cross conformance demo bench lint format install uninstall clean
.SECONDARY:
.DELETE_ON_ERROR:

-include $(wildcard $(B)/core/*.d $(B)/preload/*.d $(B)/preload/cmd/*.d $(B)/tests/*.d $(B)/tests/*/*.d $(B)/tests/bench/rpc/*.d)
