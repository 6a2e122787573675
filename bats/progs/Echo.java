// SPDX-License-Identifier: BSD-2-Clause
import java.io.DataInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Arrays;
import java.util.Random;

/**
 * Echo server PORT NIO_PORT: a thread for each connection on PORT, one Selector for all on NIO_PORT.
 * Echo client PORT: converses with either and compares every octet; says "ok".
 */
public class Echo {
	static final InetAddress HERE = InetAddress.getLoopbackAddress();

	static void serve(Socket s) {
		byte[] buf = new byte[65536];
		try (s) {
			for (int n; (n = s.getInputStream().read(buf)) > 0;)
				s.getOutputStream().write(buf, 0, n);
			s.shutdownOutput();
		} catch (IOException e) {
			System.out.println(e);
		}
	}

	static void threads(int port) throws IOException {
		ServerSocket listener = new ServerSocket(port, 64, InetAddress.getByName("127.0.0.1"));
		Thread t = new Thread(() -> {
			try {
				while (true) {
					Socket s = listener.accept();
					new Thread(() -> serve(s)).start();
				}
			} catch (IOException e) {
				System.out.println(e);
			}
		});
		t.setDaemon(true);
		t.start();
	}

	/** Each key holds a buffer: what was read and not written yet; no more is read before. */
	static void selector(int port) throws IOException {
		Selector sel = Selector.open();
		ServerSocketChannel listener = ServerSocketChannel.open();
		listener.bind(new InetSocketAddress("127.0.0.1", port));
		listener.configureBlocking(false);
		listener.register(sel, SelectionKey.OP_ACCEPT);
		System.out.println("ready");
		while (true) {
			sel.select();
			for (SelectionKey key : sel.selectedKeys()) {
				if (key.isAcceptable()) {
					SocketChannel c = listener.accept();
					c.configureBlocking(false);
					c.register(sel, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536).limit(0));
					continue;
				}
				SocketChannel c = (SocketChannel) key.channel();
				ByteBuffer buf = (ByteBuffer) key.attachment();
				if (!buf.hasRemaining()) {
					buf.clear();
					int n = c.read(buf);
					buf.flip();
					if (n < 0) {
						c.close();
						continue;
					}
				}
				c.write(buf);
				key.interestOps(buf.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
			}
			sel.selectedKeys().clear();
		}
	}

	static void check(DataInputStream in, byte[] want, String what) throws IOException {
		byte[] got = new byte[want.length];
		in.readFully(got);
		if (!Arrays.equals(got, want))
			throw new IOException(what + ": other octets came back");
	}

	static void client(int port) throws Exception {
		Random rng = new Random(port);
		try (Socket s = new Socket(InetAddress.getByName("127.0.0.1"), port)) {
			s.setSoTimeout(30000);
			s.setTcpNoDelay(true);
			DataInputStream in = new DataInputStream(s.getInputStream());
			for (int i = 0; i < 300; i++) {
				byte[] data = new byte[new int[] {1, 16, 1000, 65536, 100}[i % 5]];
				rng.nextBytes(data);
				s.getOutputStream().write(data);
				check(in, data, "echo of " + data.length);
			}
			byte[] burst = new byte[3000000];
			rng.nextBytes(burst);
			Thread writer = new Thread(() -> {
				try {
					s.getOutputStream().write(burst);
					s.shutdownOutput();
				} catch (IOException e) {
					System.out.println(e);
				}
			});
			writer.start();
			check(in, burst, "burst");
			writer.join();
			if (in.read() != -1)
				throw new IOException("more came than was sent");
		}
		System.out.println("ok");
	}

	public static void main(String[] args) throws Exception {
		if (args[0].equals("client")) {
			client(Integer.parseInt(args[1]));
			return;
		}
		threads(Integer.parseInt(args[1]));
		selector(Integer.parseInt(args[2]));
	}
}
