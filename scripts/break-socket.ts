/** Breaks one side of a proxied connection, so that nobody takes it for an orderly end. Must never leave it open. */
import type { Socket } from "node:net";

/**
 * The other side sees a broken connection. Node.js can't reset a socket whose end is being sent: it leaves it open for
 * ever (the handle refuses, and is forgotten).
 */
export function breakSocket(socket: Socket): void {
  if (socket.connecting || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
