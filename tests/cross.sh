#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# cross.sh (make cross): everything built for aarch64, in build-aarch64, and run on an emulated machine with Debian's kernel: the unit tests, and pairs of programs under
# shunt, which must talk through memory. TAP. (Emulating single programs, as qemu-user does, is not enough: it knows neither sock_diag nor process_vm_readv.)
#
# Not part of make check: it wants gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-system-arm and cpio here, and fetches four packages of Debian's arm64 (60 MB), which
# are unpacked in the build folder alone. An emulated processor says nothing of memory orders: it keeps more of them than it must.
set -eu
cd "$(dirname "$0")/.."
B=build-aarch64
ROOT=$PWD/$B/root INIT=$PWD/$B/init
PACKAGES=(libcmocka0 libcmocka-dev busybox-static)

for tool in aarch64-linux-gnu-gcc qemu-system-aarch64 cpio; do
	command -v "$tool" >/dev/null || { echo "Bail out! $tool is not installed"; exit 1; }
done

# arm64's packages, with a state of apt's own: this system's is not touched.
fetch() {
	local apt=$PWD/$B/apt kernel
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	touch "$apt/status"
	local with=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o "Dir::State::status=$apt/status"
		-o APT::Sandbox::User=root)
	apt-get "${with[@]}" update
	kernel=$(apt-cache "${with[@]}" depends linux-image-arm64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	(cd "$apt" && apt-get "${with[@]}" download "${PACKAGES[@]}" "$kernel")
	local deb
	for deb in "$apt"/*.deb; do
		dpkg -x "$deb" "$ROOT"
	done
	rm -rf "$apt"
	touch "$ROOT/complete"
}

units=()
for t in tests/unit/test_*.c; do
	case $t in
	*/test_ab.c | */test_hostile*.c) ;; # of a part of the command that is not built here; starts programs from the build folder
	*) units+=("$B/${t%.c}") ;;
	esac
done

build() {
	make -j"$(nproc)" B="$B" CC=aarch64-linux-gnu-gcc CFLAGS="-O2 -g -L$ROOT/usr/lib/aarch64-linux-gnu" HAVE_JANSSON='' HAVE_AB='' HAVE_SDT='' \
		"${units[@]}" "$B/libshunt.so" "$B/shunt" "$B/tests/bench/rr_server" "$B/tests/bench/rr_client" >"$B/make.log" 2>&1 ||
		{ tail -n 20 "$B/make.log"; echo "Bail out! it does not build"; exit 1; }
}

# What the machine boots into: it says ok or not ok, and ends.
pack() {
	rm -rf "$INIT"
	mkdir -p "$INIT"/{bin,lib,proc,sys,dev,tmp,etc,t}
	cp "$ROOT/bin/busybox" "$INIT/bin/"
	cp -a /usr/aarch64-linux-gnu/lib/*.so* "$ROOT"/usr/lib/aarch64-linux-gnu/*.so* "$INIT/lib/"
	find "$ROOT/lib/modules" \( -name inet_diag.ko -o -name tcp_diag.ko -o -name udp_diag.ko \) -exec cp {} "$INIT/lib/" \;
	cp "${units[@]}" "$B"/libshunt.so "$B"/shunt "$B"/tests/bench/rr_{server,client} "$INIT/t/"
	cat >"$INIT/init" <<'EOF'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/t
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
chmod 1777 /tmp
echo 'root:x:0:0::/:/bin/sh' >/etc/passwd
ifconfig lo 127.0.0.1 up
for m in inet_diag tcp_diag udp_diag; do insmod /lib/$m.ko; done
for t in /t/test_*; do
	if timeout 100 $t >/tmp/out 2>&1; then echo "ok - ${t#/t/}"; else sed 's/^/# /' /tmp/out; echo "not ok - ${t#/t/}"; fi
done
# shm_bytes FILE: more than a thousand messages each way
through_memory() { [ "$(sed -n 's/.*"rx":{"shm_bytes":\([0-9]*\).*/\1/p' "$1")" -gt 64000 ]; }
for how in serial thread poll epoll; do
	shunt run --stats /tmp/server -- rr_server -m $how -n 1 -p 7001 &
	until grep -q ':1B59 00000000:0000 0A' /proc/net/tcp; do usleep 20000; done
	shunt run --stats /tmp/client -- rr_client -p 7001 -t 3000
	wait
	if through_memory /tmp/server && through_memory /tmp/client; then echo "ok - a pair of programs: $how"; else cat /tmp/server /tmp/client; echo "not ok - a pair of programs: $how"; fi
	rm -f /tmp/server /tmp/client
done
if [ "$(cat /proc/sysvipc/shm /proc/sysvipc/sem | wc -l)" -eq 2 ]; then echo "ok - nothing is left"; else cat /proc/sysvipc/*; echo "not ok - nothing is left"; fi
echo "# end"
poweroff -f
EOF
	chmod +x "$INIT/init"
	(cd "$INIT" && find . | cpio --quiet -o -H newc | gzip -1) >"$B/initrd.gz"
}

boot() {
	timeout 600 qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 2 -m 1500 -nic none -kernel "$ROOT"/boot/vmlinuz-* -initrd "$B/initrd.gz" \
		-nographic -no-reboot -append "console=ttyAMA0 quiet panic=1" </dev/null | tr -d '\r' | tee "$B/boot.log" | grep -E '^(ok|not ok|#)' || :
}

mkdir -p "$B"
[ -e "$ROOT/complete" ] || fetch
build
pack
boot
n=$(grep -cE '^(not )?ok' "$B/boot.log") || :
echo "1..$n"
grep -q '^# end' "$B/boot.log" || { echo "Bail out! the machine has not come to its end"; exit 1; }
! grep -q '^not ok' "$B/boot.log"
