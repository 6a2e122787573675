// SPDX-License-Identifier: BSD-2-Clause
import java.rmi.Remote;
import java.rmi.RemoteException;
import java.rmi.registry.LocateRegistry;
import java.rmi.registry.Registry;
import java.rmi.server.UnicastRemoteObject;
import java.util.Arrays;

/** Rmi server PORT: a registry and a remote object. Rmi client PORT N: looks it up, calls it, has itself called back; says "ok". */
public class Rmi {
	public interface Back extends Remote {
		int twice(int n) throws RemoteException;
	}

	public interface Echo extends Remote {
		byte[] echo(byte[] data) throws RemoteException;

		int through(Back back, int n) throws RemoteException;
	}

	static class Server implements Echo {
		public byte[] echo(byte[] data) {
			return data;
		}

		public int through(Back back, int n) throws RemoteException {
			return back.twice(n) + 1;
		}
	}

	static void serve(int port) throws Exception {
		Server server = new Server(); // reachable for as long as the process lives
		LocateRegistry.createRegistry(port).rebind("echo", UnicastRemoteObject.exportObject(server, 0));
		System.out.println("ready");
		Thread.sleep(Long.MAX_VALUE);
		server.echo(null);
	}

	static void call(int port, int n) throws Exception {
		Registry registry = LocateRegistry.getRegistry("127.0.0.1", port);
		Echo echo = (Echo) registry.lookup("echo");
		for (int size : new int[] {0, 1, 1024, 65536, 1000000}) {
			byte[] data = new byte[size];
			for (int i = 0; i < size; i++)
				data[i] = (byte) (i * 7 + size);
			for (int i = 0; i < (size > 100000 ? 3 : n); i++)
				if (!Arrays.equals(echo.echo(data), data))
					throw new Exception("echo of " + size);
		}
		Back back = m -> 2 * m;
		UnicastRemoteObject.exportObject(back, 0);
		for (int i = 0; i < n; i++)
			if (echo.through(back, i) != 2 * i + 1)
				throw new Exception("through " + i);
		System.out.println("ok");
		System.exit(0);
	}

	public static void main(String[] args) throws Exception {
		System.setProperty("java.rmi.server.hostname", "127.0.0.1");
		if (args[0].equals("server"))
			serve(Integer.parseInt(args[1]));
		else
			call(Integer.parseInt(args[1]), Integer.parseInt(args[2]));
	}
}
