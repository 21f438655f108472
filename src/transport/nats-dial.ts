/**
 * Adapter: the NATS client with sockets that end when they are given up. The client's own transport goes on with a
 * dial that ran out of time: once a frozen server resumes it has a second socket, and when the server drops that one
 * the client takes it for the end of its connection, dials again, and leaves the good one behind, for ever so.
 * Invariant: a client has at most one socket. Must never wait for bytes to be flushed to a server taken for dead.
 */

import { createConnection, type Socket } from "node:net";
import type { ConnectionOptions, NatsConnection } from "nats";
import { NatsConnectionImpl, setTransportFactory } from "nats/lib/src/nats-base-client.js";
import { NodeTransport, nodeResolveHost } from "nats/lib/src/node_transport.js";

/** As `connect` of the package, which sets its own transport for the whole process. */
export function dialNats(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new OneSocketTransport(), dnsResolveFn: nodeResolveHost });
  return NatsConnectionImpl.connect(options);
}

/** One dial and the connection that comes of it. */
class OneSocketTransport extends NodeTransport {
  #dialed: Socket | null = null;

  /** Errors: that of the socket; the client's "refused" when it was given up. */
  override dial(server: { hostname: string; port: number }): Promise<Socket> {
    const socket = createConnection(server.port, server.hostname);
    this.#dialed = socket;
    socket.setNoDelay(true);
    return new Promise((resolve, reject) => {
      let cause: Error | undefined;
      socket.once("connect", () => {
        socket.removeAllListeners();
        resolve(socket);
      });
      socket.once("error", (error) => {
        cause = error;
      });
      socket.once("close", () => reject(cause));
    });
  }

  /** The client wants this one no more: it lost the race with the dial timer, was refused, or is closed. */
  override async close(error?: Error): Promise<void> {
    await super.close(error);
    // Does nothing when there was a connection: that one is closed above.
    this.#dialed?.destroy();
  }

  /** Pings stayed unanswered. The client would first flush, which never ends towards a server that reads nothing. */
  override disconnect(): void {
    void super.close();
  }
}
