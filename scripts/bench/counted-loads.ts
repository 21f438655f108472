/**
 * Loads from this process on servers that hold what earlier loads have counted. One account runs through all of them, so
 * that `verify` can compare the domains; its reads are outside of what a load costs.
 */
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import { LoadEngine, type LoadOutcome } from "../../src/cli/load/load-engine.ts";
import { LoadHttp } from "../../src/cli/load/load-http.ts";
import { parseUrls } from "../../src/cli/load/load-run.ts";
import { createMix, type EventStream } from "../../src/cli/load/mixes.ts";
import { LoadOracle } from "../../src/cli/load/oracle.ts";
import { verifyLoad } from "../../src/cli/load/verification.ts";
import { EachDomainOnce } from "./each-domain-once.ts";
import { RECOUNTED_MAX } from "./load-tool.ts";
import type { BenchContext } from "./part.ts";

export interface CountedLoad {
  readonly connections: number;
  /** Lines a request; 0, the default: single `PUT`s. */
  readonly bulk?: number;
  /** Events a second; 0, the default: closed loop. */
  readonly rate?: number;
  readonly warmupMs?: number;
  /** One of the two. */
  readonly events?: number;
  readonly durationMs?: number;
  /** Default: those of the account. */
  readonly urls?: string;
  /** Ends the load. */
  readonly signal?: AbortSignal;
}

export const BULK_LINES = 1000;
const FILL_CONNECTIONS = 4;
const DEADLINE_MS = 120_000;

export class CountedLoads {
  readonly #url: string;
  readonly #names: DomainNames;
  readonly #oracle = new LoadOracle();
  #domains: number;
  #loads = 0;

  /**
   * `url`: one or several with commas; domains are read through the first. `domains`: so many were counted before, by
   * another account; then this one can't be verified.
   */
  constructor(url: string, seed: number, domains: number = 0) {
    this.#url = url;
    this.#domains = domains;
    this.#names = new DomainNames(seed);
  }

  /** One event for each of so many domains, in bulk. Later loads are uniform over them. Errors: one was not counted. */
  async fill(domains: number): Promise<LoadOutcome> {
    this.#domains = domains;
    const load = { connections: FILL_CONNECTIONS, bulk: BULK_LINES, events: domains };
    const outcome = await this.#send(new EachDomainOnce(), load);
    if (outcome.ackedTotal !== domains) throw new Error("Not every event was acknowledged");
    return outcome;
  }

  /** Other events each time. */
  run(load: CountedLoad): Promise<LoadOutcome> {
    this.#loads++;
    const options = { seed: this.#loads, domains: this.#domains, isKeyed: false };
    return this.#send(createMix("uniform", options), load);
  }

  /** Of RECOUNTED_MAX domains at most. Errors: one whose counts or status are wrong. */
  async verify(): Promise<void> {
    const baseUrl = parseUrls(this.#url).firstUrl;
    const http = new LoadHttp({ baseUrl, token: null, deadlineMs: DEADLINE_MS });
    const rule = await http.rule();
    const account = { names: this.#names, oracle: this.#oracle, samplesMax: RECOUNTED_MAX };
    const report = await verifyLoad({ http, rule, ...account });
    if (report.wrongDomains > 0) throw new Error(`Wrong counts: ${JSON.stringify(report)}`);
  }

  async #send(stream: EventStream, load: CountedLoad): Promise<LoadOutcome> {
    const { urls = this.#url, signal, ...options } = load;
    const { targets, hostHeader, basePath } = parseUrls(urls);
    const engine = new LoadEngine({
      ...{ targets, hostHeader, basePath, token: null, keyPrefix: "" },
      ...{ names: this.#names, oracle: this.#oracle, stream },
      ...{ bulk: 0, rate: 0, warmupMs: 0, events: Infinity, durationMs: Infinity },
      ...{ requestTimeoutMs: DEADLINE_MS, reconnectTimeoutMs: DEADLINE_MS },
      ...options,
    });
    signal?.addEventListener("abort", () => engine.stop());
    return await engine.run();
  }
}

/** A number of domains, events and the like; in a try fewer. */
export function scaled({ scale }: BenchContext, count: number): number {
  return Math.max(1, Math.round(count * scale));
}

/** So many events or so long, as a measured load of this run is to be. */
export function amountOf(context: BenchContext): Pick<CountedLoad, "events" | "durationMs"> {
  const { events, durationMs } = context;
  return events === null ? { durationMs } : { events };
}

/** Of several nodes together; null where none tells. Labels are added up. */
export async function metricOf(urls: string, name: string): Promise<number | null> {
  let sum: number | null = null;
  for (const url of urls.split(",")) {
    const text = await (await fetch(`${url}/metrics`)).text();
    for (const line of text.split("\n")) {
      if (!line.startsWith(`${name} `) && !line.startsWith(`${name}{`)) continue;
      sum = (sum ?? 0) + Number(line.slice(line.lastIndexOf(" ") + 1));
    }
  }
  return sum;
}
