/**
 * Chooses the HTTP adapter. `auto` prefers uWebSockets.js and falls back to node:http where its binary is missing, with
 * one log line that says why. Never falls back when `uws` was asked for by name.
 */

import type { Logger } from "../runtime/logger.ts";
import type { HttpServer, HttpServerOptions } from "./http-server.ts";
import { createNodeHttpServer } from "./node-http-server.ts";
import { createUwsHttpServer } from "./uws-http-server.ts";

export type HttpServerKind = "uws" | "node" | "auto";

/**
 * Creates the server; the caller listens. Rejects for `uws` without a binary, and for certificates that don't load.
 * `openUws` is a seam for tests.
 */
export async function openHttpServer(
  kind: HttpServerKind,
  options: HttpServerOptions,
  log: Logger,
  openUws: (options: HttpServerOptions) => Promise<HttpServer> = createUwsHttpServer,
): Promise<HttpServer> {
  if (kind === "node") return createNodeHttpServer(options);
  try {
    return await openUws(options);
  } catch (error) {
    if (kind === "uws") throw error;
    const reason = error instanceof Error ? error.message : String(error);
    log.warn({ reason }, "uWebSockets.js is not available, falling back to node:http");
    return createNodeHttpServer(options);
  }
}
