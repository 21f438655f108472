/**
 * Ports for processes that are told where to listen. The kernel gives the ports above its own limit to outgoing
 * connections: one that was free a moment ago may be somebody's when the process that was to have it starts. So these are
 * below it.
 */

import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

const HOST = "127.0.0.1";
const RANGE_FILE = "/proc/sys/net/ipv4/ip_local_port_range";
/** Below are most of the ports that programs have by default. */
const PORT_MIN = 10_240;
/** Where the kernel's own ports begin on most systems, for those that don't say. */
const OWN_PORT_MIN = 32_768;
const PORTS_MIN = 1_000;
const TRIES_MAX = 100;

/** By this process: who was given one may not listen yet. */
const given = new Set<number>();

/** A port of 127.0.0.1 that nothing listens on now, another one each time. Errors: none was found. */
export async function freePort(): Promise<number> {
  const end = ownPortMin();
  for (let i = 0; i < TRIES_MAX; i++) {
    // A kernel that keeps nearly all ports for itself leaves no other choice.
    const port = end - PORT_MIN < PORTS_MIN ? 0 : randomInt(PORT_MIN, end);
    const bound = await bindOnce(HOST, port);
    if (bound === null || given.has(bound)) continue;
    given.add(bound);
    return bound;
  }
  throw new Error(`No free port among ${TRIES_MAX} tried`);
}

/** The port that could be bound (0: any), or null. It is let go of again. */
export function bindOnce(host: string, port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === "object" && address !== null ? address.port : null;
      server.close(() => resolve(bound));
    });
  });
}

function ownPortMin(): number {
  try {
    return Number.parseInt(readFileSync(RANGE_FILE, "utf8"), 10);
  } catch {
    return OWN_PORT_MIN;
  }
}
