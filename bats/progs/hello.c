/* SPDX-License-Identifier: BSD-2-Clause */
/* hello.c - built static, and made setuid: says who it is. Status 3. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	printf("hello from uid %u\n", (unsigned)geteuid());
	return 3;
}
