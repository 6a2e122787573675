// SPDX-License-Identifier: BSD-2-Clause
// node_server.js PORT HTTP_PORT: an echo server and an HTTP server (GET /N: N octets; POST: its body back). Ends at SIGINT.
'use strict';
const net = require('net');
const http = require('http');

const echo = net.createServer({allowHalfOpen: true}, (sock) => sock.pipe(sock));
const web = http.createServer((req, res) => {
	if (req.method === 'POST')
		req.pipe(res);
	else
		res.end(Buffer.alloc(Number(req.url.slice(1)), 'abcdefg'));
});
process.on('SIGINT', () => {
	echo.close();
	web.close();
	web.closeAllConnections();
});
echo.listen(Number(process.argv[2]), '127.0.0.1', () =>
	web.listen(Number(process.argv[3]), '127.0.0.1', () => console.log('ready')));
