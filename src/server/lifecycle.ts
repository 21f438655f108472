/**
 * The order in which a node stops: not ready → what it owns handed to others (cluster) → no new events → what is pending
 * is committed and answered → no new connections → checkpoint → sockets closed.
 * Safety: the log is closed last, so nothing that was answered is lost whenever this is cut short.
 */

import type { HttpSurface } from "../http/handlers.ts";
import type { HttpServer } from "../http/http-server.ts";
import type { Ingress } from "../router/ingress.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Timers } from "../runtime/timers.ts";

/** For so long new connections are still taken, so that probes hear 503 from `/readyz` and not only a refusal. */
const NOTICE_MS = 500;
/**
 * Time for the clients of open connections to send once more, and to hear that this node stops. Cut off at once, those
 * that happen to send at that moment would have to take their event for unknown.
 */
const CONNECTION_GRACE_MS = 1000;
/** Of the time for a stop, what is kept for the steps after the handing over, which may wait for others in vain. */
const RESERVE_MS_MAX = 8000;

/** A node as the process sees it, alone or in a cluster. */
export interface RunningNode {
  readonly router: Ingress;
  readonly clock: Clock;
  readonly timers: Timers;
  /** For the log: what was recovered, which life it is. */
  readonly description: Readonly<Record<string, unknown>>;
  /** Not ready any more, serving on until others have what it owns. At once for a node that is alone. */
  handOver(timeoutMs: number): Promise<void>;
  /** Admits nothing more; resolves when what was admitted is committed and answered. */
  drain(timeoutMs: number): Promise<void>;
  /** Checkpoint, then everything is closed. Repeatable. */
  stop(timeoutMs: number): Promise<void>;
}

/** Resolves to false when `timeoutMs` passed first. */
export async function stopNode(
  node: RunningNode,
  server: HttpServer,
  surface: HttpSurface,
  timeoutMs: number,
): Promise<boolean> {
  let giveUp: () => void = () => undefined;
  const late = new Promise<boolean>((resolve) => {
    giveUp = () => resolve(false);
  });
  const timer = node.timers.after(timeoutMs, giveUp);
  try {
    return await Promise.race([inOrder(node, server, surface, timeoutMs).then(() => true), late]);
  } finally {
    // A timer keeps the process alive.
    timer.cancel();
  }
}

async function inOrder(
  node: RunningNode,
  server: HttpServer,
  surface: HttpSurface,
  timeoutMs: number,
): Promise<void> {
  const deadlineMs = node.clock.monotonicMs() + timeoutMs;
  const leftMs = () => Math.max(0, deadlineMs - node.clock.monotonicMs());
  await node.handOver(timeoutMs - Math.min(RESERVE_MS_MAX, timeoutMs / 2));
  server.beginStopping();
  surface.endStreams();
  const noticed = new Promise<void>((resolve) => {
    node.timers.after(Math.min(NOTICE_MS, leftMs() / 4), resolve);
  });
  await node.drain(leftMs() / 2);
  await noticed;
  server.stopAccepting();
  const ended = server.connectionsEnded(Math.min(CONNECTION_GRACE_MS, leftMs() / 4));
  await node.stop(leftMs() / 2);
  await ended;
  await server.close();
}
