#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# OpenSSH over localhost: a server that executes itself anew for each connection, parses keys under a seccomp filter in a chroot, and gives up root
# before it forwards; a client that is a server for what it forwards. The connection between the two is inherited by that exec as standard
# input and stays in the kernel; those that it forwards go through memory at both ends.

load lib

setup_file() {
	file_begin
	command -v sshd >/dev/null || return 0
	if [ "$(id -u)" -eq 0 ] && [ ! -d /run/sshd ]; then
		mkdir -m 755 /run/sshd # where it is jailed; a service manager makes it
		MADE_DIR=1
	fi
	export MADE_DIR=${MADE_DIR:-}
	ssh-keygen -q -t ed25519 -N '' -f "$T/host_key"
	ssh-keygen -q -t ed25519 -N '' -f "$T/key"
	cp "$T/key.pub" "$T/authorized_keys"
	head -c 15000000 /dev/urandom | base64 -w 60 >"$T/data" # text, because a failed test prints of it
	cat >"$T/client.conf" <<-CONF
		IdentityFile $T/key
		IdentitiesOnly yes
		BatchMode yes
		StrictHostKeyChecking accept-new
		ExitOnForwardFailure yes
		HostKeyAlgorithms ssh-ed25519
	CONF
}

teardown_file() {
	[ -z "${MADE_DIR:-}" ] || rmdir /run/sshd
	file_end
}

# ssh_server USER: in the background, on PORT; SSH are the words that lead to it
ssh_server() {
	need sshd ssh nc
	WHO=$(id -un)
	[ "$(id -u)" -ne 0 ] || WHO=$1
	PORT=$(free_port)
	cat >"$D/sshd.conf" <<-CONF
		ListenAddress 127.0.0.1:$PORT
		HostKey $T/host_key
		AuthorizedKeysFile $T/authorized_keys
		PidFile none
		UsePAM no
		StrictModes no
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		UseDNS no
		LogLevel VERBOSE
	CONF
	server sshd "$(command -v sshd)" -D -e -f "$D/sshd.conf"
	up sshd
	SSH=(ssh -F "$T/client.conf" -o "UserKnownHostsFile=$D/known" -p "$PORT" -l "$WHO" 127.0.0.1)
}

# carries NAME: from a client at PORT, through ssh and sshd, to where TO listens
carries() {
	server "nc$1" nc -l 127.0.0.1 "$TO"
	wait_for 60 listening "$TO"
	client nc nc -N 127.0.0.1 "$PORT" < <(trickles "$T/data" "$PORT" "$TO")
	done_by 60 "nc$1"
	[ "$CODE" -eq 0 ]
	cmp "$T/data" "$D/nc$1.out"
}

# other_port: as free_port, and none of those that are spoken for
other_port() {
	local p
	while p=$(free_port); do
		[[ " $* " == *" $p "* ]] || break
	done
	echo "$p"
}

tunnel() {
	sides "$1"
	ssh_server www-data
	local here there
	here=$(other_port "$PORT") there=$(other_port "$PORT" "$here")
	TO=$(other_port "$PORT" "$here" "$there")
	spawn client ssh "${SSH[@]}" -N -L "127.0.0.1:$here:127.0.0.1:$TO" -R "127.0.0.1:$there:127.0.0.1:$TO"
	wait_for 60 listening "$here"
	wait_for 60 listening "$there"
	PORT=$here carries L
	PORT=$there carries R
	stop ssh
	stop sshd
	[ "$SIDES" != both ] || paths nc ncL ncR ssh sshd # otherwise there is a pair at one end alone
}

@test "a file through a tunnel each way (-L, -R): both sides under shunt" { tunnel both; }
@test "a file through a tunnel each way (-L, -R): server only" { tunnel server; }
@test "a file through a tunnel each way (-L, -R): client only" { tunnel client; }

@test "a file through the shell of a session, and back" {
	sides both
	ssh_server root
	client ssh "${SSH[@]}" 'tee /dev/stderr | sha256sum' <"$T/data" >"$D/sum" 2>"$D/back"
	sha256sum <"$T/data" | diff - "$D/sum"
	grep -v '^Warning: ' -a "$D/back" | cmp "$T/data"
	stop sshd
	well_formed sshd
	well_formed ssh
}
