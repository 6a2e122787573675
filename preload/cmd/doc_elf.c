/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doc_elf.c - what an ELF file imports. The names below are those of the C library (and of liburing) by which a program can reach a socket's octets, its
 * readiness, its life or its number; from them are taken away those that preload/syscalls.def replaces.
 */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "doctor.h"

static const char *const covered[] = {
#define X(ret, name, params, args) #name,
#define Y(name) #name,
#include "syscalls.def"
#undef X
#undef Y
};

#define URING "Switch io_uring off in the program, if it uses it for sockets: those calls do not pass the C library."
#define FORKS "Nothing to do, unless the child goes on using the parent's sockets: fork() is seen, this is not."
#define OTHER                                                                                                                  \
	"If it is used on sockets, keep those in the kernel by a rule (`shunt run --not 'by PROGRAM'`), and please report it."

static const struct {
	const char *name;
	const char *advice;
} names[] = {
	{"io_uring_queue_init", URING},
	{"io_uring_queue_init_params", URING},
	{"io_uring_setup", URING},
	{"clone", FORKS},
	{"pidfd_spawn", FORKS},
	{"pidfd_spawnp", FORKS},
	{"dlmopen", "Libraries in a namespace of their own call the C library around shunt: their sockets stay in the kernel."},
	{"pidfd_getfd", "A socket that is fetched from a process under shunt must be passed by SCM_RIGHTS instead."},
	{"seccomp_load",
		"The filter must permit what shunt needs, or the process goes back to the kernel when it is installed."},
	{"socket", OTHER},
	{"bind", OTHER},
	{"listen", OTHER},
	{"accept", OTHER},
	{"accept4", OTHER},
	{"connect", OTHER},
	{"__connect", OTHER},
	{"shutdown", OTHER},
	{"getsockopt", OTHER},
	{"setsockopt", OTHER},
	{"sockatmark", OTHER},
	{"close", OTHER},
	{"__close", OTHER},
	{"close_range", OTHER},
	{"closefrom", OTHER},
	{"dup", OTHER},
	{"dup2", OTHER},
	{"__dup2", OTHER},
	{"dup3", OTHER},
	{"fcntl", OTHER},
	{"fcntl64", OTHER},
	{"__fcntl", OTHER},
	{"ioctl", OTHER},
	{"__ioctl_time64", OTHER},
	{"__fcntl_time64", OTHER},
	{"read", OTHER},
	{"__read", OTHER},
	{"__read_chk", OTHER},
	{"readv", OTHER},
	{"preadv2", OTHER},
	{"preadv64v2", OTHER},
	{"recv", OTHER},
	{"__recv_chk", OTHER},
	{"recvfrom", OTHER},
	{"__recvfrom_chk", OTHER},
	{"recvmsg", OTHER},
	{"__recvmsg64", OTHER},
	{"recvmmsg", OTHER},
	{"__recvmmsg64", OTHER},
	{"write", OTHER},
	{"__write", OTHER},
	{"writev", OTHER},
	{"pwritev2", OTHER},
	{"pwritev64v2", OTHER},
	{"send", OTHER},
	{"__send", OTHER},
	{"sendto", OTHER},
	{"sendmsg", OTHER},
	{"__sendmsg64", OTHER},
	{"sendmmsg", OTHER},
	{"__sendmmsg64", OTHER},
	{"sendfile", OTHER},
	{"sendfile64", OTHER},
	{"splice", OTHER},
	{"poll", OTHER},
	{"__poll", OTHER},
	{"__poll_chk", OTHER},
	{"ppoll", OTHER},
	{"__ppoll_chk", OTHER},
	{"__ppoll64", OTHER},
	{"__ppoll64_chk", OTHER},
	{"select", OTHER},
	{"__select", OTHER},
	{"__select64", OTHER},
	{"pselect", OTHER},
	{"__pselect64", OTHER},
	{"epoll_create", OTHER},
	{"epoll_create1", OTHER},
	{"epoll_ctl", OTHER},
	{"epoll_wait", OTHER},
	{"epoll_pwait", OTHER},
	{"epoll_pwait2", OTHER},
	{"__epoll_pwait2_time64", OTHER},
	{"fdopen", OTHER},
	{"_IO_fdopen", OTHER},
	{"fclose", OTHER},
	{"_IO_fclose", OTHER},
	{"freopen", OTHER},
	{"freopen64", OTHER},
	{"fcloseall", OTHER},
	{"dprintf", OTHER},
	{"__dprintf_chk", OTHER},
	{"vdprintf", OTHER},
	{"__vdprintf_chk", OTHER},
	{"execve", OTHER},
	{"execv", OTHER},
	{"execvp", OTHER},
	{"execvpe", OTHER},
	{"execl", OTHER},
	{"execlp", OTHER},
	{"execle", OTHER},
	{"fexecve", OTHER},
	{"execveat", OTHER},
	{"posix_spawn", OTHER},
	{"posix_spawnp", OTHER},
	{"posix_spawn_file_actions_adddup2", OTHER},
	{"system", OTHER},
	{"popen", OTHER},
	{"_IO_popen", OTHER},
	{"unshare", OTHER},
	{"setns", OTHER},
	{"sigaction", OTHER},
	{"__sigaction", OTHER},
	{"signal", OTHER},
	{"bsd_signal", OTHER},
	{"sysv_signal", OTHER},
	{"__sysv_signal", OTHER},
	{"sigset", OTHER},
	{"siginterrupt", OTHER},
	{"sigvec", OTHER},
	{"syscall", OTHER},
};

/* A file in memory: read, not mapped, so that nobody can cut it off under us. */
struct file {
	unsigned char *p;
	size_t len;
};

#define MAX_FILE (UINT64_C(512) << 20)

static int load(struct file *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n = -1;

	*f = (struct file){0};
	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size < MAX_FILE)
		f->p = malloc((size_t)st.st_size);
	while (f->p && f->len < (size_t)st.st_size &&
		(n = pread(fd, f->p + f->len, (size_t)st.st_size - f->len, (off_t)f->len)) > 0)
		f->len += (size_t)n;
	close(fd);
	return f->p && f->len > sizeof(ElfW(Ehdr)) && !memcmp(f->p, ELFMAG, SELFMAG) ? 0 : -1;
}

/* `n` structs of `size` at `off`, or NULL if the file has them not; to be copied out by memcpy: they may lie anywhere. */
static const unsigned char *part(const struct file *f, uint64_t off, uint64_t n, uint64_t size)
{
	return off <= f->len && n <= f->len / size && n * size <= f->len - off ? f->p + off : NULL;
}

static int section(const struct file *f, unsigned i, ElfW(Shdr) * sh)
{
	const unsigned char *at;
	ElfW(Ehdr) eh;

	memcpy(&eh, f->p, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) || i >= eh.e_shnum ||
		eh.e_shentsize != sizeof(*sh))
		return -1;
	at = part(f, eh.e_shoff, eh.e_shnum, sizeof(*sh));
	if (!at)
		return -1;
	memcpy(sh, at + i * sizeof(*sh), sizeof(*sh));
	return 0;
}

/* The string at `at` of that string table; "" if there is none. */
static const char *string(const struct file *f, const ElfW(Shdr) * tab, uint64_t at)
{
	const unsigned char *p = part(f, tab->sh_offset, tab->sh_size, 1);

	return p && at < tab->sh_size && memchr(p + at, 0, tab->sh_size - at) ? (const char *)p + at : "";
}

int elf_is_go(const char *path)
{
	ElfW(Shdr) sh, tab;
	struct file f;
	int yes = 0;

	if (load(&f, path) == 0) {
		ElfW(Ehdr) eh;

		memcpy(&eh, f.p, sizeof(eh));
		for (unsigned i = 0; !yes && !section(&f, eh.e_shstrndx, &tab) && !section(&f, i, &sh); i++) {
			const char *name = string(&f, &tab, sh.sh_name);

			yes = !strcmp(name, ".go.buildinfo") || !strcmp(name, ".note.go.buildid");
		}
	}
	free(f.p);
	return yes;
}

int elf_linker(const char *path, char *buf, size_t len)
{
	const unsigned char *at;
	struct file f;
	int err = -1;

	if (load(&f, path) == 0) {
		ElfW(Ehdr) eh;
		ElfW(Phdr) ph;

		memcpy(&eh, f.p, sizeof(eh));
		at = eh.e_phentsize == sizeof(ph) ? part(&f, eh.e_phoff, eh.e_phnum, sizeof(ph)) : NULL;
		for (unsigned i = 0; at && i < eh.e_phnum; i++) {
			const unsigned char *text;

			memcpy(&ph, at + i * sizeof(ph), sizeof(ph));
			text = ph.p_type == PT_INTERP && ph.p_filesz > 1 && ph.p_filesz < len
				       ? part(&f, ph.p_offset, ph.p_filesz, 1)
				       : NULL;
			if (!text)
				continue;
			memcpy(buf, text, ph.p_filesz);
			buf[ph.p_filesz - 1] = '\0';
			err = 0;
		}
	}
	free(f.p);
	return err;
}

static int is_covered(const char *name)
{
	for (size_t i = 0; i < sizeof(covered) / sizeof(*covered); i++)
		if (!strcmp(covered[i], name))
			return 1;
	return 0;
}

/* The C library, its parts and its dynamic linker call themselves, and each other. */
static int is_libc(const char *name)
{
	static const char *const own[] = {"libc.so", "libc-", "ld-linux", "libpthread", "librt.so", "libdl.so", "libresolv",
		"libnss_", "libnsl", "libanl", "libm.so"};

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (!strncmp(name, own[i], strlen(own[i])))
			return 1;
	return 0;
}

static void check_import(struct report *r, const char *symbol, const char *file)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(names[i].name, symbol) && !is_covered(symbol))
			report(r, STATE_LIMIT, "import", names[i].advice, "%s: imports %s(), which shunt does not replace",
				file, symbol);
}

static void check_symbols(struct report *r, const struct file *f, const ElfW(Shdr) * sh, const char *name)
{
	uint64_t n = sh->sh_size / sizeof(ElfW(Sym));
	const unsigned char *at = part(f, sh->sh_offset, n, sizeof(ElfW(Sym)));
	ElfW(Shdr) tab;
	ElfW(Sym) sym;

	for (uint64_t i = 0; at && !section(f, sh->sh_link, &tab) && i < n; i++) {
		memcpy(&sym, at + i * sizeof(sym), sizeof(sym));
		if (sym.st_shndx == SHN_UNDEF)
			check_import(r, string(f, &tab, sym.st_name), name);
	}
}

void check_imports(struct report *r, const char *path, const char *name)
{
	struct file f = {0};
	ElfW(Shdr) sh;

	if (!is_libc(name) && load(&f, path) == 0)
		for (unsigned i = 0; !section(&f, i, &sh); i++)
			if (sh.sh_type == SHT_DYNSYM)
				check_symbols(r, &f, &sh, name);
	free(f.p);
}
