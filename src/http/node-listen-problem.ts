/**
 * Why a server could not listen, for a library that does not say: asks the system once more. Never keeps the port: what
 * it opens, it closes before it answers.
 */

import { createServer } from "node:net";

/** The error of the system for this address; null when it could be listened on by now. Never rejects. */
export function listenProblem(host: string, port: number): Promise<unknown> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen({ host, port, exclusive: true }, () => {
      server.close(() => resolve(null));
    });
  });
}
