/**
 * Chooses the HTTP adapter. `auto` prefers uWebSockets.js and falls back to node:http where its binary is missing, with
 * one log line that says why. Never falls back when `uws` was asked for by name.
 */

import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { CatchallError } from "../model/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { HttpServer, HttpServerOptions } from "./http-server.ts";
import { createNodeHttpServer } from "./node-http-server.ts";
import { createUwsHttpServer } from "./uws-http-server.ts";

export type HttpServerKind = "uws" | "node" | "auto";

/**
 * Creates the server; the caller listens. Rejects for `uws` without a binary, and with `conflict` for certificates that
 * don't load: neither adapter says which file it was, and a fallback would hide the mistake.
 * `openUws` is a seam for tests.
 */
export async function openHttpServer(
  kind: HttpServerKind,
  options: HttpServerOptions,
  log: Logger,
  openUws: (options: HttpServerOptions) => Promise<HttpServer> = createUwsHttpServer,
): Promise<HttpServer> {
  if (options.tls !== null) assertTlsFiles(options.tls);
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

function assertTlsFiles({ certFile, keyFile }: { certFile: string; keyFile: string }): void {
  try {
    createSecureContext({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `--tls-cert "${certFile}" and --tls-key "${keyFile}" can't be used: ${reason}`;
    throw new CatchallError("conflict", message, { cause });
  }
}
