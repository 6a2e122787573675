/* SPDX-License-Identifier: BSD-2-Clause */
#include "table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MAX_COLS 16

void table_init(struct table *t, const struct table_col *cols, size_t n_cols)
{
	*t = (struct table){.cols = cols, .n_cols = n_cols};
}

static void grow(struct table *t, size_t n)
{
	char **more = realloc(t->cells, n * sizeof(*more));

	if (more)
		t->cells = more;
	else
		t->err = -ENOMEM;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;
	size_t n = t->n_cells;
	char *text;
	int len;

	if (!t->err && (n & (n - 1)) == 0) /* it doubles */
		grow(t, n ? 2 * n : 1);
	if (t->err)
		return;
	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0)
		t->err = -ENOMEM;
	else
		t->cells[t->n_cells++] = text;
}

static void natural(const struct table *t, unsigned w[MAX_COLS])
{
	for (size_t c = 0; c < t->n_cols; c++)
		w[c] = (unsigned)strlen(t->cols[c].head);
	for (size_t i = 0; i + t->n_cols <= t->n_cells; i += t->n_cols)
		for (size_t c = 0; c < t->n_cols; c++) {
			unsigned len = (unsigned)strlen(t->cells[i + c]);

			if (len > w[c])
				w[c] = len;
		}
}

/* With a blank between two columns; those of width 0 have been left out. */
static unsigned sum(const struct table *t, const unsigned w[MAX_COLS])
{
	unsigned all = 0;

	for (size_t c = 0; c < t->n_cols; c++)
		all += w[c] ? w[c] + 1 : 0;
	return all ? all - 1 : 0;
}

unsigned table_width(const struct table *t)
{
	unsigned w[MAX_COLS];

	natural(t, w);
	return sum(t, w);
}

/* The column that is spared next, or n_cols. */
static size_t next_drop(const struct table *t, const unsigned w[MAX_COLS])
{
	size_t best = t->n_cols;

	for (size_t c = 0; c < t->n_cols; c++)
		if (w[c] && t->cols[c].drop && (best == t->n_cols || t->cols[c].drop < t->cols[best].drop))
			best = c;
	return best;
}

/* The widest that may still be cut, or n_cols. */
static size_t next_cut(const struct table *t, const unsigned w[MAX_COLS])
{
	size_t best = t->n_cols;

	for (size_t c = 0; c < t->n_cols; c++)
		if (t->cols[c].min && w[c] > t->cols[c].min && (best == t->n_cols || w[c] > w[best]))
			best = c;
	return best;
}

static void fit(const struct table *t, unsigned w[MAX_COLS], unsigned width)
{
	size_t c;

	for (c = 0; sum(t, w) > width && c < t->n_cols; c++)
		if (t->cols[c].drop == TABLE_BELOW)
			w[c] = 0;
	while (sum(t, w) > width && (c = next_drop(t, w)) < t->n_cols)
		w[c] = 0;
	while (sum(t, w) > width && (c = next_cut(t, w)) < t->n_cols)
		w[c]--;
}

static void print_row(const struct table *t, const unsigned w[MAX_COLS], char *const *cells)
{
	char line[4096] = "";
	size_t n = 0;

	for (size_t c = 0; c < t->n_cols; c++) {
		const char *text = cells ? cells[c] : t->cols[c].head;
		size_t len = strlen(text);
		int cut = len > w[c];

		if (!w[c] || n + w[c] + 2 > sizeof(line))
			continue;
		if (n)
			line[n++] = ' ';
		if (cut)
			len = w[c] - 1;
		n += (size_t)snprintf(
			line + n, sizeof(line) - n, t->cols[c].right ? "%*.*s" : "%-*.*s", (int)w[c] - cut, (int)len, text);
		if (cut)
			line[n++] = '~';
	}
	while (n && line[n - 1] == ' ')
		n--;
	printf("%.*s\n", (int)n, line);
}

/* Cells that have no place in the row. */
static void print_below(const struct table *t, const unsigned w[MAX_COLS], char *const *cells, unsigned width)
{
	for (size_t c = 0; c < t->n_cols; c++)
		if (t->cols[c].drop == TABLE_BELOW && !w[c])
			print_wrapped(cells ? cells[c] : t->cols[c].head, 4, 0, width);
}

int table_print(const struct table *t, unsigned width)
{
	unsigned w[MAX_COLS];

	natural(t, w);
	if (width)
		fit(t, w, width);
	for (size_t i = 0; i <= t->n_cells; i += t->n_cols) { /* the heads, then row by row */
		char *const *cells = i ? t->cells + i - t->n_cols : NULL;

		print_row(t, w, cells);
		print_below(t, w, cells, width);
	}
	return t->err;
}

void table_fini(struct table *t)
{
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){0};
}

unsigned term_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize ws;

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col)
		return ws.ws_col;
	return columns && atoi(columns) > 0 ? (unsigned)atoi(columns) : 80;
}

void print_wrapped(const char *text, unsigned indent, unsigned hang, unsigned width)
{
	size_t all = width ? width : 100;

	while (*text) {
		size_t room = all > indent + 20 ? all - indent : 20, len = strlen(text), n = len;

		if (len > room) {
			for (n = room; n && text[n] != ' '; n--)
				;
			n = n ? n : room; /* a word that is longer than a line */
		}
		printf("%*s%.*s\n", (int)indent, "", (int)n, text);
		text += n;
		text += strspn(text, " ");
		indent += hang;
		hang = 0;
	}
}

void print_line(const char *text, unsigned hang)
{
	unsigned width = term_width();

	if (width)
		print_wrapped(text, 0, hang, width);
	else
		puts(text);
}
