// SPDX-License-Identifier: BSD-2-Clause
// node_cluster.js PORT HTTP_PORT POLICY: node_server.js in two workers. POLICY rr: this process accepts, and passes each connection to a worker; none: it
// passes the listeners. Ends at SIGINT, when its workers have.
'use strict';
const cluster = require('cluster');

const policy = process.argv[4];
cluster.schedulingPolicy = policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
cluster.setupPrimary({exec: `${__dirname}/node_server.js`, args: process.argv.slice(2, 4), silent: true});
let ready = 0;
let left = 2;
for (let i = 0; i < 2; i++) {
	const worker = cluster.fork();
	worker.process.stdout.on('data', () => ++ready === 2 && console.log('ready'));
	worker.on('exit', () => --left === 0 && process.exit(0));
}
process.on('SIGINT', () => {
	for (const worker of Object.values(cluster.workers))
		worker.process.kill('SIGINT'), worker.disconnect();
});
