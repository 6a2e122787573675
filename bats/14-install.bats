#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# make install and uninstall: what is put where, that it works from there, and that nothing of it stays.

load lib

setup_file() {
	file_begin
	need gcc
}

@test "what make install has put into a folder works from there, and make uninstall takes all of it away" {
	local root=$D/root repo=$BATS_TEST_DIRNAME/..
	make -C "$repo" -s install DESTDIR="$root" PREFIX=/usr
	(cd "$root" && find . ! -type d | sort) >"$D/there"
	for f in bin/shunt lib/shunt/libshunt.so lib/libncadg_sm.a include/ncadg_sm.h include/ncadg_sm_abi.h share/man/man1/shunt.1 \
		share/man/man3/ncadg_sm.3 share/man/man5/shunt.conf.5; do
		grep -qx "./usr/$f" "$D/there"
	done
	[ "$(wc -l <"$D/there")" -eq 8 ]
	# The command finds its library beside itself, and the library is enough to build with.
	"$root/usr/bin/shunt" run --stats "$D/stats" true
	grep -q '"comm":"true"' "$D/stats"
	gcc -I"$root/usr/include" -o "$D/example" "$repo/docs/examples/server.c" "$root/usr/lib/libncadg_sm.a" -pthread
	make -C "$repo" -s uninstall DESTDIR="$root" PREFIX=/usr
	[ -z "$(find "$root" ! -type d)" ]
	[ ! -e "$root/usr/lib/shunt" ]
}
