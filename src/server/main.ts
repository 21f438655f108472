/**
 * `catchall serve`: arguments, environment and signals in, exit code out.
 * Exit codes: 0 stopped, 1 failed, 78 wrong configuration (one sentence per mistake).
 */

import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { performance } from "node:perf_hooks";
import { describeConfig, loadConfig } from "../config/config.ts";
import type { Config } from "../config/config-type.ts";
import { AccessControl } from "../http/access-control.ts";
import { type AccessToken, parseTokens } from "../http/access-tokens.ts";
import { createSurface, type HttpSurface } from "../http/handlers.ts";
import { DEFAULT_HTTP_LIMITS } from "../http/http-deps.ts";
import type { HttpServer } from "../http/http-server.ts";
import { openHttpServer } from "../http/node-open-http-server.ts";
import { NODE_TOKEN_DIGEST } from "../http/node-token-digest.ts";
import { CatchallError } from "../model/errors.ts";
import { createPinoLogger, type FlushableLogger } from "../runtime/pino-logger.ts";
import { PrometheusMetrics } from "../runtime/prometheus-metrics.ts";
import type { ClusterOptions } from "./cluster.ts";
import { startEmbeddedNode } from "./embedded.ts";
import { type RunningNode, stopNode } from "./lifecycle.ts";

export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_CONFIG = 78;

/** How long a request may take before it is answered `504`; also how long a body may take to arrive. */
const REQUEST_DEADLINE_MS = 10_000;
const URL_BYTES_MAX = 2048;
/** A wrong file given for the tokens file has one in every line. */
const MISTAKES_SHOWN_MAX = 20;
/** Ctrl-C under `npm start` comes twice: from the terminal, and passed on by npm. */
const SIGNAL_ECHO_MS = 200;

/** Runs a node until it is told to stop; resolves to the exit code. */
export async function serve(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const readFile = (path: string) => readFileSync(path, "utf8");
  const loaded = loadConfig({ argv, env, readFile, hostName: hostname() });
  if ("mistakes" in loaded) return reportMistakes(loaded.mistakes);
  const { config } = loaded;
  const mistakes: string[] = [];
  const tokens = readTokens(config, mistakes);
  if (mistakes.length > 0) return reportMistakes(mistakes);
  return run(config, tokens);
}

async function run(config: Config, tokens: readonly AccessToken[] | null): Promise<number> {
  const logger = createPinoLogger(config.logLevel);
  const metrics = new PrometheusMetrics();
  let end: (reason: "signal" | "log_failed") => void = () => undefined;
  const ended = new Promise<"signal" | "log_failed">((resolve) => {
    end = resolve;
  });
  const stopping = new AbortController();
  const onSignal = () => {
    end("signal");
    stopping.abort();
  };
  const removeSignals = onSignals(onSignal, logger);
  try {
    logger.debug({ config: describeConfig(config) }, "Starting");
    const onLogFailed = (reason: string) => {
      logger.error({ reason }, "The write-ahead log failed; nothing more is acknowledged");
      end("log_failed");
    };
    const node =
      config.natsUrl === null
        ? await startEmbeddedNode({ config, logger, metrics, onLogFailed })
        : await startCluster({ config, logger, metrics, stopping: stopping.signal });
    logger.info(node.description, "Recovered");
    const { server, surface, url } = await listen(config, tokens, node, logger, metrics);
    printBanner(config, url);
    const reason = await ended;
    logger.info({ reason }, "Stopping");
    const isClean = await stopNode(node, server, surface, config.shutdownTimeoutMs);
    return reason === "signal" && isClean ? EXIT_OK : EXIT_FAILED;
  } catch (error) {
    if (error !== stopping.signal.reason) return reportFailure(error, logger);
    logger.info({ reason: "signal" }, "Stopped before the node had begun");
    return EXIT_OK;
  } finally {
    removeSignals();
    logger.flush();
  }
}

/** Loaded only here: a node that is alone starts without the clients of NATS and MongoDB. */
async function startCluster(options: ClusterOptions): Promise<RunningNode> {
  const cluster = await import("./cluster.ts");
  return cluster.startCluster(options);
}

async function listen(
  config: Config,
  tokens: readonly AccessToken[] | null,
  node: RunningNode,
  logger: FlushableLogger,
  metrics: PrometheusMetrics,
): Promise<{ server: HttpServer; surface: HttpSurface; url: string }> {
  const tls =
    config.tlsCert === null || config.tlsKey === null
      ? null
      : { certFile: config.tlsCert, keyFile: config.tlsKey };
  const scheme = tls === null ? "http" : "https";
  const surface = createSurface({
    ingress: node.router,
    limits: { ...DEFAULT_HTTP_LIMITS, bodyBytesMax: config.maxBodyBytes },
    clock: node.clock,
    timers: node.timers,
    metrics,
    accessControl: new AccessControl({ tokens, digest: NODE_TOKEN_DIGEST, host: config.host }),
    logger,
    version: packageVersion(),
    scheme,
  });
  const server = await openHttpServer(
    config.http,
    {
      routes: surface.routes,
      fallback: surface.fallback,
      onError: (error) => logger.error({ err: error }, "A request handler failed"),
      requestDeadlineMs: REQUEST_DEADLINE_MS,
      bodyDeadlineMs: REQUEST_DEADLINE_MS,
      urlBytesMax: URL_BYTES_MAX,
      tls,
    },
    logger,
  );
  const port = await server.listen(config.host, config.port);
  const host = config.host.includes(":") ? `[${config.host}]` : config.host;
  return { server, surface, url: `${scheme}://${host}:${port}` };
}

function printBanner(config: Config, url: string): void {
  const kind =
    config.natsUrl === null
      ? `one node, log synced before each answer, data in ${config.dataDir}`
      : `node "${config.nodeId}" of cluster "${config.clusterName}"`;
  process.stdout.write(
    `catchall serves ${url} (${kind})\n` +
      `Dashboard: ${url}/\n` +
      `Try: curl -i -X PUT ${url}/events/example.com/delivered && curl ${url}/domains/example.com\n`,
  );
}

/** The first signal stops in order, the second at once: what was acknowledged is in the log either way. */
function onSignals(stop: () => void, logger: FlushableLogger): () => void {
  let first: { readonly name: NodeJS.Signals; readonly atMs: number } | null = null;
  const onSignal = (name: NodeJS.Signals) => {
    const atMs = performance.now();
    if (first === null) {
      first = { name, atMs };
      return stop();
    }
    if (first.name === name && atMs - first.atMs < SIGNAL_ECHO_MS) return;
    logger.flush();
    process.exit(EXIT_FAILED);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return () => {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  };
}

function readTokens(config: Config, mistakes: string[]): readonly AccessToken[] | null {
  if (config.tokensFile === null) return null;
  try {
    const parsed = parseTokens(readFileSync(config.tokensFile, "utf8"));
    mistakes.push(...parsed.mistakes);
    return parsed.tokens;
  } catch (error) {
    mistakes.push(`The tokens file "${config.tokensFile}" cannot be read: ${messageOf(error)}`);
    return null;
  }
}

function reportMistakes(mistakes: readonly string[]): number {
  for (const mistake of mistakes.slice(0, MISTAKES_SHOWN_MAX)) process.stderr.write(`${mistake}\n`);
  const others = mistakes.length - MISTAKES_SHOWN_MAX;
  if (others > 0) process.stderr.write(`and ${others} more\n`);
  return EXIT_CONFIG;
}

function reportFailure(error: unknown, logger: FlushableLogger): number {
  // What was foreseen is told in one sentence; a stack is for what was not.
  const isForeseen = error instanceof CatchallError && error.code !== "internal";
  if (isForeseen) logger.debug({ err: error }, "Start failed");
  else logger.error({ err: error }, "Start failed");
  process.stderr.write(`${messageOf(error)}\n`);
  const isConfig = error instanceof CatchallError && error.code === "conflict";
  return isConfig ? EXIT_CONFIG : EXIT_FAILED;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
