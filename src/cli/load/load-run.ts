/**
 * One whole load run: baseline, events, verification. The command prints what this returns; the benchmarks and the
 * kill loop use it too.
 */
import { randomInt } from "node:crypto";
import { CatchallError } from "../../model/errors.ts";
import { DomainNames } from "./domain-names.ts";
import type { LoadTarget } from "./load-connection.ts";
import { LoadEngine, type LoadOutcome } from "./load-engine.ts";
import { LoadHttp } from "./load-http.ts";
import { createMix, type MixName } from "./mixes.ts";
import { cpuSecondsBetween } from "./node-cpu.ts";
import { domainsOf, readBaseline, type VerificationReport, verifyLoad } from "./verification.ts";

export interface LoadRunOptions {
  /** One URL or several, separated by commas; the connections are spread over them. */
  readonly url: string;
  readonly token: string | null;
  readonly mix: MixName;
  readonly seed: number;
  readonly domains: number;
  readonly isKeyed: boolean;
  readonly events: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly connections: number;
  readonly bulk: number;
  readonly rate: number;
  readonly requestTimeoutMs: number;
  readonly reconnectTimeoutMs: number;
  readonly isVerifying: boolean;
  /** So many domains are recounted at most; default: all. */
  readonly samplesMax?: number;
  /** Share of the requests that read a domain of the mix, 0 (default) to 1; not with `bulk`. */
  readonly reads?: number;
}

export interface LoadRunResult {
  readonly options: LoadRunOptions;
  readonly outcome: LoadOutcome;
  readonly verification: VerificationReport | null;
  /** CPU seconds of the node during the run, where its metrics tell and it did not restart. */
  readonly serverCpuSeconds: number | null;
}

/** Called with the engine once it starts, for progress and interruption. */
export type OnLoadStart = (engine: LoadEngine) => void;

/** Called when every event has its outcome and the recount begins. */
export type OnLoadVerify = () => void;

export interface ParsedUrls {
  readonly targets: readonly LoadTarget[];
  readonly hostHeader: string;
  readonly basePath: string;
  readonly firstUrl: string;
}

/** Errors: invalid_parameter for what is no http or https URL. */
export function parseUrls(text: string): ParsedUrls {
  const urls = text.split(",").map((part) => {
    const url = URL.canParse(part.trim()) ? new URL(part.trim()) : null;
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new CatchallError("invalid_parameter", `"${part}" is not an http or https URL`);
    }
    return url;
  });
  const first = urls[0] as URL;
  return {
    targets: urls.map((url) => {
      const isTls = url.protocol === "https:";
      const host = url.hostname.replace(/^\[|\]$/g, "");
      return { host, port: Number(url.port) || (isTls ? 443 : 80), isTls };
    }),
    hostHeader: first.host,
    basePath: first.pathname.replace(/\/$/, ""),
    firstUrl: first.href.replace(/\/$/, ""),
  };
}

const KEY_PREFIX_BOUND = 2 ** 47;

/** Errors: those of the reads around the run (node not reachable, lookup refused). */
export async function runLoad(
  options: LoadRunOptions,
  onStart?: OnLoadStart,
  onVerify?: OnLoadVerify,
): Promise<LoadRunResult> {
  const { firstUrl, ...urls } = parseUrls(options.url);
  const names = new DomainNames(options.seed);
  const http = new LoadHttp({
    baseUrl: firstUrl,
    token: options.token,
    deadlineMs: options.reconnectTimeoutMs,
  });
  await http.reach();
  const createStream = () => createMix(options.mix, options);
  // The stream is seeded, so its domains are known before it runs: a repeated run stays exact.
  const isBaselined = options.isVerifying && Number.isFinite(options.events);
  const domains = isBaselined ? domainsOf(createStream(), options.events) : [];
  const baseline = await readBaseline(http, names, domains);
  const { reads = 0, ...engineOptions } = options;
  const engine = new LoadEngine({
    ...engineOptions,
    ...urls,
    names,
    stream: createStream(),
    // Reads have a stream of their own, so that the events are the same with and without them.
    ...(reads === 0 ? {} : { reads: { share: reads, stream: createStream() } }),
    keyPrefix: `${randomInt(KEY_PREFIX_BOUND).toString(36)}-`,
  });
  const cpuBefore = await http.cpu();
  onStart?.(engine);
  const outcome = await engine.run();
  const cpuAfter = await http.cpu();
  let verification: VerificationReport | null = null;
  if (options.isVerifying) {
    onVerify?.();
    const rule = await http.rule();
    const { oracle } = engine;
    const samplesMax = options.samplesMax ?? Infinity;
    verification = await verifyLoad({ http, names, oracle, rule, baseline, samplesMax });
  }
  const serverCpuSeconds = cpuSecondsBetween(cpuBefore, cpuAfter);
  return { options, outcome, verification, serverCpuSeconds };
}
