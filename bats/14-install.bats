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
		share/man/man3/ncadg_sm.3 share/man/man5/shunt.conf.5 share/man/man7/libshunt.7 share/man/man7/ncadg_sm.7 lib/pkgconfig/ncadg_sm.pc \
		lib/tmpfiles.d/shunt.conf share/bash-completion/completions/shunt share/zsh/site-functions/_shunt; do
		grep -qx "./usr/$f" "$D/there"
	done
	[ "$(wc -l <"$D/there")" -eq 14 ]
	# The command finds its library beside itself, and the library is enough to build with.
	"$root/usr/bin/shunt" run --stats "$D/stats" true
	grep -q '"comm":"true"' "$D/stats"
	gcc -I"$root/usr/include" -o "$D/example" "$repo/docs/examples/server.c" "$root/usr/lib/libncadg_sm.a" -pthread
	# The same by what pkg-config says; the tmpfiles entry makes a map that the command believes.
	need pkg-config
	local flags=(env PKG_CONFIG_PATH="$root/usr/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 pkg-config)
	"${flags[@]}" --validate ncadg_sm
	# shellcheck disable=SC2046 # words
	gcc $("${flags[@]}" --cflags ncadg_sm) -o "$D/example2" "$repo/docs/examples/client.c" $("${flags[@]}" --libs ncadg_sm)
	if [ "$(id -u)" -eq 0 ] && command -v systemd-tmpfiles; then
		systemd-tmpfiles --root="$root" --create "$root/usr/lib/tmpfiles.d/shunt.conf"
		[ "$(stat -c '%a %u' "$root/run/shunt")" = "1777 0" ]
	fi
	make -C "$repo" -s uninstall DESTDIR="$root" PREFIX=/usr
	[ -z "$(find "$root" ! -type d)" ]
	[ ! -e "$root/usr/lib/shunt" ]
}
