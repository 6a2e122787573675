/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exe.c - can this file be interposed? LD_PRELOAD is read by the dynamic linker of the C library, so there must be one, it must be
 * ours (another C library would fail to load libshunt.so, and some then refuse to start the program), and the kernel must not
 * have told it to ignore the environment (setuid, setgid, file capabilities).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "exe.h"
#include "log.h"
#include "sys.h"

#define KERNEL_ST_NOSUID 2L /* of statfs; libc has the name for statvfs alone */

struct image {
	int is_elf;
	char first[EXE_LINE_LEN]; /* how the file begins */
	unsigned char class, data;
	uint16_t machine;
	char linker[256]; /* PT_INTERP; empty: none */
};

/* The path in PT_INTERP. A header that makes no sense is one without it: exec will refuse the file, not we. */
static void find_linker(int fd, const ElfW(Ehdr) * eh, struct image *im)
{
	ElfW(Phdr) ph;
	size_t i, n;

	if (eh->e_phentsize != sizeof(ph))
		return;
	for (i = 0; i < eh->e_phnum; i++) {
		if (sys4(SYS_pread64, fd, &ph, sizeof(ph), eh->e_phoff + i * sizeof(ph)) != (long)sizeof(ph))
			return;
		if (ph.p_type != PT_INTERP)
			continue;
		n = ph.p_filesz < sizeof(im->linker) ? ph.p_filesz : sizeof(im->linker);
		if (sys4(SYS_pread64, fd, im->linker, n, ph.p_offset) != (long)n)
			n = 0;
		im->linker[n < sizeof(im->linker) ? n : sizeof(im->linker) - 1] = 0;
		return;
	}
}

/* 0 or -errno. */
static int look(int fd, struct image *im)
{
	ElfW(Ehdr) eh;
	long n = sys4(SYS_pread64, fd, im->first, sizeof(im->first) - 1, 0);

	if (n < 0)
		return (int)n;
	im->first[n] = 0;
	if ((size_t)n < sizeof(eh) || memcmp(im->first, ELFMAG, SELFMAG))
		return 0;
	memcpy(&eh, im->first, sizeof(eh));
	im->is_elf = 1;
	im->class = eh.e_ident[EI_CLASS];
	im->data = eh.e_ident[EI_DATA];
	im->machine = eh.e_machine;
	if (im->class == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
		find_linker(fd, &eh, im);
	return 0;
}

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Will the kernel set AT_SECURE? Bits that change nothing, and bits that a mount or a flag disables, do not count. */
static const char *why_secure(int fd)
{
	struct stat st;
	struct statfs sfs;
	long uid = sys0(SYS_getuid);

	if (sys2(SYS_fstat, fd, &st) || sys2(SYS_fstatfs, fd, &sfs) || sfs.f_flags & KERNEL_ST_NOSUID ||
		sys5(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return NULL;
	if (st.st_mode & S_ISUID && st.st_uid != uid)
		return "it is setuid: the dynamic linker ignores LD_PRELOAD";
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st.st_gid != sys0(SYS_getgid))
		return "it is setgid: the dynamic linker ignores LD_PRELOAD";
	if (uid != 0 && sys4(SYS_fgetxattr, fd, "security.capability", 0, 0) > 0)
		return "it has file capabilities: the dynamic linker ignores LD_PRELOAD";
	return NULL;
}

static const char *why_image(const struct image *im, const struct image *us)
{
	if (im->class != us->class || im->data != us->data || im->machine != us->machine)
		return "it is made for another architecture than libshunt.so";
	if (!im->linker[0])
		return "it is statically linked: there is no dynamic linker to load libshunt.so";
	if (strcmp(base(im->linker), base(us->linker)))
		return "it uses another C library's dynamic linker than libshunt.so";
	return NULL;
}

/* "#! /path/to/interpreter argument": both, in place; all that follows is one argument. NULL: no such line. */
static char *script_interpreter(char *first, char **argument)
{
	char *p = first + 2, *end;

	if (strncmp(first, "#!", 2))
		return NULL;
	end = p + strcspn(p, "\n");
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = 0;
	p += strspn(p, " \t");
	end = p + strcspn(p, " \t");
	*argument = end + strspn(end, " \t");
	*end = 0;
	return *p ? p : NULL;
}

int exe_is_file(const char *path)
{
	struct stat st;

	return sys4(SYS_newfstatat, AT_FDCWD, path, &st, 0) == 0 && S_ISREG(st.st_mode);
}

/* What is no file has no image; to open it may wait for somebody, or do something. */
static int open_image(const char *path, struct image *im)
{
	long fd = exe_is_file(path) ? sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0) : -1;

	memset(im, 0, sizeof(*im));
	if (fd >= 0 && look((int)fd, im)) {
		sys1(SYS_close, fd);
		return -1;
	}
	return (int)fd;
}

int exe_script(const char *path, char interpreter[EXE_LINE_LEN], char argument[EXE_LINE_LEN])
{
	struct image im;
	char *p, *rest;
	int fd = open_image(path, &im);

	if (fd < 0)
		return 0;
	sys1(SYS_close, fd);
	p = im.is_elf ? NULL : script_interpreter(im.first, &rest);
	if (!p)
		return 0;
	fmt_buf(interpreter, EXE_LINE_LEN, "%s", p);
	fmt_buf(argument, EXE_LINE_LEN, "%s", rest);
	return 1;
}

const char *elf_why_not(const char *path, const char *self)
{
	struct image im, us;
	char kept[sizeof(im.first)], *argument;
	const char *next, *why;
	int fd = open_image(self, &us);

	if (fd < 0)
		return NULL;
	sys1(SYS_close, fd);
	for (int i = 0; i <= EXE_MAX_SCRIPTS; i++) {
		fd = open_image(path, &im);
		if (fd < 0)
			return NULL;
		why = im.is_elf ? why_secure(fd) : NULL;
		sys1(SYS_close, fd);
		if (im.is_elf)
			return why ? why : why_image(&im, &us);
		/* Without "#!" execvp() hands the file to /bin/sh. The kernel honours no setuid bit on scripts. */
		next = script_interpreter(im.first, &argument);
		fmt_buf(kept, sizeof(kept), "%s", next ? next : "/bin/sh");
		path = kept;
	}
	return NULL;
}
