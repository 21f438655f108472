/**
 * The HTTP surface over an ingress that the test has, and a real server on loopback that listens with it. What a test
 * does not name is as in production, or silent.
 */
import { AccessControl } from "../../src/http/access-control.ts";
import type { AccessToken } from "../../src/http/access-tokens.ts";
import { createSurface, type HttpSurface } from "../../src/http/handlers.ts";
import { DEFAULT_HTTP_LIMITS, type HttpDeps, type HttpLimits } from "../../src/http/http-deps.ts";
import { type HttpServerKind, openHttpServer } from "../../src/http/node-open-http-server.ts";
import { NODE_TOKEN_DIGEST } from "../../src/http/node-token-digest.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { NodeClock } from "../../src/runtime/node-clock.ts";
import { NodeTimers } from "../../src/runtime/node-timers.ts";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";

export interface SurfaceOptions
  extends Pick<HttpDeps, "ingress">,
    Partial<Pick<HttpDeps, "clock" | "timers" | "metrics" | "logger" | "scheme">> {
  readonly limits?: Partial<HttpLimits> | undefined;
  /** Default: none are asked for. */
  readonly tokens?: readonly AccessToken[] | null | undefined;
  readonly host?: string | undefined;
}

export function surfaceOver(options: SurfaceOptions): HttpSurface {
  const { limits, tokens = null, host = "127.0.0.1", ...deps } = options;
  return createSurface({
    clock: new NodeClock(),
    timers: new NodeTimers(),
    metrics: new PrometheusMetrics({ withProcess: false }),
    logger: SILENT_LOGGER,
    version: "0.1.0",
    scheme: "http",
    ...deps,
    limits: { ...DEFAULT_HTTP_LIMITS, ...limits },
    accessControl: new AccessControl({ tokens, digest: NODE_TOKEN_DIGEST, host }),
  });
}

export interface ListenOptions {
  readonly kind: HttpServerKind;
  /** A handler failed. */
  readonly onError: (error: unknown) => void;
  readonly requestDeadlineMs: number;
  readonly bodyDeadlineMs: number;
}

export interface Listening {
  readonly port: number;
  /** Ends the streams, then the server. */
  close(): Promise<void>;
}

/** Resolves when the surface is served on a free port of 127.0.0.1. */
export async function listenWith(surface: HttpSurface, options: ListenOptions): Promise<Listening> {
  const { kind, ...rest } = options;
  const { routes, fallback } = surface;
  const serving = { routes, fallback, urlBytesMax: 2_048, tls: null, ...rest };
  const server = await openHttpServer(kind, serving, SILENT_LOGGER);
  const port = await server.listen("127.0.0.1", 0);
  const close = async (): Promise<void> => {
    surface.endStreams();
    await server.close();
  };
  return { port, close };
}
