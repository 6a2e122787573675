/* SPDX-License-Identifier: BSD-2-Clause */
/* ab.c - shunt ab: options, and rounds until the answer is as exact as was asked for. */
#include <errno.h>
#include <getopt.h>
#include <gsl/gsl_rng.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ab.h"
#include "cmd.h"

#define N_GIVE_UP 3 /* rounds in a row that cannot be counted; the first one that cannot is enough */

static int usage(void)
{
	puts("usage: shunt ab [OPTION...] [--] CMD [ARGUMENT...]\n"
	     "       shunt ab [OPTION...] --server 'CMD' --client 'CMD' [--ready PORT|'CMD']\n"
	     "Runs CMD, or a fresh server and a client of it, without and with shunt in random\n"
	     "order, and says how many times faster it is with it. {port}: a free port.\n"
	     "\n"
	     "  --metric REGEX     last match in the output of CMD or the client, or `time`;\n"
	     "                     else of redis-benchmark, wrk, pgbench, iperf3, sockperf, or\n"
	     "                     wall time\n"
	     "  --higher-better, --lower-better   what the figure means (a regex: higher)\n"
	     "  --precision N%     until the 95 % interval is within N % of the ratio (5%)\n"
	     "  --max-time SECONDS, --run-limit SECONDS   of all, of one run (60, 60)\n"
	     "  --rounds N, --warmup N   exactly N rounds; N before that are not counted (1)\n"
	     "  --live SECONDS     one pair, under shunt, switched off and on for so long\n"
	     "  --json             the report as JSON      --html FILE   and as a page\n"
	     "  --ready PORT|CMD   the server is, when that is open, or succeeds\n"
	     "  --seed N           of the order and the interval    --help   this text\n"
	     "\n"
	     "Status: 0 a result, 1 none (runs failed, nothing in memory), 125 a wrong option.\n"
	     "\n"
	     "  shunt ab --server 'redis-server --port {port}' \\\n"
	     "           --client 'redis-benchmark -p {port} -t get -q'\n"
	     "  shunt ab --html report.html -- ./benchmark.sh");
	return 0;
}

/* ---- options ---- */

static int number(const char *option, const char *s, double least, double most, double *x)
{
	char *end;

	*x = strtod(s, &end);
	if (end != s && *end == '%' && !strcmp(option, "--precision"))
		end++;
	if (end == s || *end || !(*x >= least && *x <= most))
		return complain(EXIT_SHUNT, "%s %s: give a number from %g to %g", option, s, least, most);
	return 0;
}

static int set_metric(struct ab_conf *c, const char *regex, int higher)
{
	const struct ab_metric *reader = NULL;
	char why[128], *first;

	if (!regex && c->client) {
		first = strndup(c->client, strcspn(c->client, " \t"));
		reader = first ? ab_reader(first) : NULL;
		free(first);
	} else if (!regex) {
		reader = ab_reader(c->command[0]);
	}
	if (reader)
		c->metric = *reader;
	else if (!regex || !strcmp(regex, "time"))
		c->metric = (struct ab_metric){"wall time", "s", NULL, false, 1};
	else
		c->metric = (struct ab_metric){"figure", "", regex, true, 1};
	if (c->metric.regex && ab_metric_check(c->metric.regex, why, sizeof(why)))
		return complain(EXIT_SHUNT, "--metric '%s': %s", regex, why);
	if (higher >= 0)
		c->metric.higher = higher;
	return 0;
}

static const struct option opts[] = {
	{"server", required_argument, NULL, 's'},
	{"client", required_argument, NULL, 'c'},
	{"ready", required_argument, NULL, 'r'},
	{"metric", required_argument, NULL, 'm'},
	{"higher-better", no_argument, NULL, 'H'},
	{"lower-better", no_argument, NULL, 'L'},
	{"precision", required_argument, NULL, 'p'},
	{"max-time", required_argument, NULL, 't'},
	{"run-limit", required_argument, NULL, 'T'},
	{"rounds", required_argument, NULL, 'n'},
	{"warmup", required_argument, NULL, 'w'},
	{"live", required_argument, NULL, 'l'},
	{"json", no_argument, NULL, 'j'},
	{"html", required_argument, NULL, 'o'},
	{"seed", required_argument, NULL, 'S'},
	{"against-itself", no_argument, NULL, 'i'}, /* for tests: nothing may be found */
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* 0: go on; else a status + 1. */
static int parse(struct ab_conf *c, int argc, char **argv)
{
	const char *regex = NULL;
	int o, higher = -1, e = 0;
	double x = 0;

	opterr = 0;
	while (!e && (o = getopt_long(argc, argv, "+:h", opts, NULL)) != -1)
		switch (o) {
		case 's':
			c->server = optarg;
			break;
		case 'c':
			c->client = optarg;
			break;
		case 'r':
			c->ready = optarg;
			break;
		case 'm':
			regex = optarg;
			break;
		case 'H':
		case 'L':
			higher = o == 'H';
			break;
		case 'p':
			e = number("--precision", optarg, 0.1, 100, &x);
			c->precision = x / 100;
			break;
		case 't':
			e = number("--max-time", optarg, 0.1, 86400, &c->max_time_s);
			break;
		case 'T':
			e = number("--run-limit", optarg, 0.1, 86400, &c->run_limit_s);
			break;
		case 'n':
			e = number("--rounds", optarg, 1, AB_MAX_ROUNDS, &x);
			c->rounds = (unsigned)x;
			break;
		case 'w':
			e = number("--warmup", optarg, 0, 100, &x);
			c->warmup = (unsigned)x;
			break;
		case 'l':
			e = number("--live", optarg, 1, 86400, &c->live_s);
			break;
		case 'j':
			c->json = true;
			break;
		case 'o':
			c->html = optarg;
			break;
		case 'S':
			c->seed = strtoul(optarg, NULL, 0);
			break;
		case 'i':
			c->itself = true;
			break;
		case 'h':
			return usage() + 1;
		case ':':
			return complain(EXIT_SHUNT, "%s: its value is missing; see `shunt ab --help`", argv[optind - 1]) + 1;
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt ab --help`", argv[optind - 1]) + 1;
		}
	c->command = argv + optind;
	if (!e && !c->server != !c->client)
		e = complain(EXIT_SHUNT, "--server and --client belong together; see `shunt ab --help`");
	if (!e && !c->server == (optind == argc))
		e = complain(EXIT_SHUNT, "give a command, or --server and --client; see `shunt ab --help`");
	if (!e && c->server && !c->ready && !strstr(c->server, "{port}"))
		e = complain(EXIT_SHUNT, "when is the server ready? put {port} into both commands, or add --ready PORT");
	if (!e)
		e = set_metric(c, regex, higher);
	return e ? e + 1 : 0;
}

/* ---- rounds ---- */

static void progress(const struct ab_result *r)
{
	char a[32], b[32];

	if (!isatty(2))
		return;
	if (!r)
		fputs("\r\033[K", stderr);
	else if (!r->n)
		fputs("\r\033[Kwarming up", stderr);
	else
		fprintf(stderr, "\r\033[Kround %u: kernel %s, shunt %s: %.3g times (%.3g-%.3g)", r->n,
			ab_number(r->median[AB_KERNEL], a), ab_number(r->median[AB_SHUNT], b), r->ratio.value, r->ratio.low,
			r->ratio.high);
}

/* Both runs of a round into run[]; true: they count. */
static bool one_round(const struct ab_conf *c, struct ab_result *r, struct ab_run run[AB_WAYS], bool shunt_first)
{
	for (int i = 0; i < AB_WAYS; i++) {
		enum ab_way w = shunt_first ? !i : i;
		if (!ab_run(c, w, &run[w])) {
			r->n_failed++;
			snprintf(r->failed, sizeof(r->failed), "%s", run[w].error);
			return false;
		}
	}
	if (!c->itself && !run[AB_SHUNT].bytes.shm) {
		const struct ab_bytes *b = &run[AB_SHUNT].bytes;
		r->n_same++;
		snprintf(r->same, sizeof(r->same), "%s%s",
			b->why[0]   ? "sockets stayed in the kernel, by reason: "
			: b->kernel ? "the connections were too short, or their other end does not run under shunt"
				    : "it had no local TCP or UDP traffic that shunt saw (a static or setuid program?)",
			b->why);
		return false;
	}
	return true;
}

static void rounds(const struct ab_conf *c, struct ab_result *r)
{
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_taus2);
	unsigned most = c->rounds ? c->rounds : AB_MAX_ROUNDS, warm = c->warmup, lost = 0;
	double begin = ab_now(), last = 0;

	gsl_rng_set(rng, c->seed);
	while (r->n < most && !ab_interrupted && lost < (r->n ? N_GIVE_UP : 1)) {
		struct ab_run run[AB_WAYS];
		double t = ab_now();
		if (r->n && t - begin + last > c->max_time_s)
			break;
		progress(r);
		if (!one_round(c, r, run, gsl_rng_uniform_int(rng, 2))) {
			lost++;
			continue;
		}
		lost = 0;
		last = ab_now() - t;
		if (warm) {
			warm--;
			continue;
		}
		for (int w = 0; w < AB_WAYS; w++)
			r->run[w][r->n] = run[w];
		r->n++;
		if (!ab_looks(r->n))
			continue;
		ab_evaluate(c, r);
		if (!c->rounds && ab_exact_enough(c, r))
			break;
	}
	ab_evaluate(c, r);
	gsl_rng_free(rng);
	r->took_s = ab_now() - begin;
	progress(NULL);
}

static void interrupt(int sig)
{
	ab_interrupted = sig;
}

int cmd_ab(int argc, char **argv)
{
	static struct ab_run runs[AB_WAYS][AB_MAX_ROUNDS];
	struct ab_conf c = {.precision = 0.05, .max_time_s = 60, .run_limit_s = 60, .warmup = 1};
	struct ab_result r = {.run = {runs[AB_KERNEL], runs[AB_SHUNT]}};
	const char *preload = getenv("LD_PRELOAD");
	int e;

	getrandom(&c.seed, sizeof(c.seed), 0);
	e = parse(&c, argc, argv);
	if (e)
		return e - 1;
	if (preload && strstr(preload, "libshunt.so"))
		return complain(EXIT_SHUNT, "it runs under shunt itself: then both ways would; start it without `shunt run`");
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	if (c.live_s > 0)
		ab_live(&c, &r);
	else
		rounds(&c, &r);
	if (c.json)
		e = ab_report_json(&c, &r);
	else
		ab_report_text(&c, &r);
	if (!e && c.html)
		e = ab_report_html(&c, &r);
	return e ? e : r.ratio.high ? 0 : 1;
}
