/**
 * The order in which a node stops: not ready → no new events → what is pending is committed and answered → checkpoint →
 * sockets closed. Safety: the log is closed last, so nothing that was answered is lost whenever this is cut short.
 */

import type { HttpSurface } from "../http/handlers.ts";
import type { HttpServer } from "../http/http-server.ts";
import type { EmbeddedNode } from "./embedded.ts";

/** Time for answers to leave after the last commit. */
const ANSWER_GRACE_MS = 50;

/** Resolves to false when `timeoutMs` passed first. */
export async function stopNode(
  node: EmbeddedNode,
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
    return await Promise.race([inOrder(node, server, surface).then(() => true), late]);
  } finally {
    // A timer keeps the process alive.
    timer.cancel();
  }
}

async function inOrder(
  node: EmbeddedNode,
  server: HttpServer,
  surface: HttpSurface,
): Promise<void> {
  node.gate.moveTo("draining");
  server.stopAccepting();
  surface.endStreams();
  await node.commit.drained();
  await new Promise<void>((resolve) => {
    node.timers.after(ANSWER_GRACE_MS, resolve);
  });
  await node.stop();
  await server.close();
}
