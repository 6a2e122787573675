// SPDX-License-Identifier: BSD-2-Clause
// node_client.js PORT HTTP_PORT: talks to node_server.js and compares every octet. Says "ok".
'use strict';
const net = require('net');
const http = require('http');
const crypto = require('crypto');
const assert = require('assert');

const [port, httpPort] = process.argv.slice(2).map(Number);
const agent = new http.Agent({keepAlive: true, maxSockets: 4});

// Requests and answers, then a burst that comes back while it is written, then end of file each way.
async function echo() {
	const sock = net.connect({port, host: '127.0.0.1', allowHalfOpen: true});
	const chunks = sock[Symbol.asyncIterator]();
	let held = Buffer.alloc(0);
	const read = async (n) => {
		while (held.length < n) {
			const {value, done} = await chunks.next();
			assert(!done, `end of file after ${held.length} of ${n}`);
			held = Buffer.concat([held, value]);
		}
		const got = held.subarray(0, n);
		held = held.subarray(n);
		return got;
	};
	for (const n of [1, 7, 1000, 65536, 300000, ...Array(300).fill(16)]) {
		const data = crypto.randomBytes(n);
		sock.write(data);
		assert(data.equals(await read(n)), `echo of ${n}`);
	}
	const burst = crypto.randomBytes(3000000);
	sock.end(burst);
	assert(burst.equals(await read(burst.length)), 'burst');
	assert((await chunks.next()).done, 'end of file');
}

function request(options, body) {
	return new Promise((resolve, reject) => {
		const req = http.request({port: httpPort, host: '127.0.0.1', agent, ...options}, (res) => {
			const all = [];
			res.on('data', (d) => all.push(d));
			res.on('end', () => resolve(Buffer.concat(all)));
			res.on('error', reject);
		});
		req.on('error', reject);
		req.end(body);
	});
}

async function web(seed) {
	for (let i = 0; i < 100; i++) {
		const n = [0, 1, 100, 5000][(i + seed) % 4];
		assert(Buffer.alloc(n, 'abcdefg').equals(await request({path: `/${n}`})), `GET ${n}`);
	}
	const body = crypto.randomBytes(2000000);
	assert(body.equals(await request({method: 'POST', path: '/'}, body)), 'POST');
}

(async () => {
	await Promise.all([echo(), echo(), echo(), web(0), web(1), web(2)]);
	agent.destroy();
	console.log('ok');
})();
