#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# setup.sh [check | conformance | demo]: what the tests (packages.txt), the other projects' tests or the demo need beyond gcc and make, from the distribution's own packages.
#
# As root it installs what is missing; otherwise one line says what is. No service is started: our programs start their own
# servers, on their own ports. Leaves at once when nothing is missing. Status 0 when all is there.
set -u

case ${1:-check} in
demo) want="libjansson-dev libgsl-dev" ;;
conformance) want="iproute2 libglib2.0-tests libpython3.11-testsuite python3 python3.11 util-linux" ;;
check)
	want=$(grep -vxE 'default-jdk-headless|nodejs' "$(dirname "$0")/packages.txt") # large, and only skipped when they are not there
	;;
*)
	echo "usage: tests/setup.sh [check | conformance | demo]" >&2
	exit 2
	;;
esac

missing=()
for p in $want; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "setup: missing: ${missing[*]} (as root: apt-get install ${missing[*]})"
	exit 1
fi

# invoke-rc.d asks this file before it starts a daemon; one that is there already is the administrator's, and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
out=$(mktemp)
echo "setup: installing ${missing[*]}"
for try in install update+install; do
	[ $try = update+install ] && apt-get update -q </dev/null >"$out" 2>&1
	if apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null >>"$out" 2>&1; then
		rm -f "$out"
		exit 0
	fi
done
echo "setup: apt-get could not install ${missing[*]}: $(grep '^E:' "$out" | head -1)"
rm -f "$out"
exit 1
