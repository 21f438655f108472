/**
 * The reads around a load run: domains, rule and the node's CPU time. Not the hot path: plain fetch and JSON.
 * Retries refusals and lost connections until `deadlineMs`, since a node may be restarting; then it fails.
 */
import { performance } from "node:perf_hooks";
import { CatchallError } from "../../model/errors.ts";
import { DEFAULT_RULE, type Rule } from "../../model/status.ts";
import { type NodeCpu, parseNodeCpu } from "./node-cpu.ts";

export interface DomainAnswer {
  readonly delivered: number;
  readonly bounced: number;
  readonly status: string;
  readonly overridden: boolean;
}

const RETRY_DELAY_MS = 100;
const REACH_TIMEOUT_MS = 2000;
const REQUEST_TIMEOUT_MS = 60_000;

export class LoadHttp {
  readonly #baseUrl: string;
  readonly #token: string | null;
  readonly #deadlineMs: number;

  constructor(options: {
    readonly baseUrl: string;
    readonly token: string | null;
    /** Longest time to go on trying one request. */
    readonly deadlineMs: number;
  }) {
    this.#baseUrl = options.baseUrl.replace(/\/$/, "");
    this.#token = options.token;
    this.#deadlineMs = options.deadlineMs;
  }

  /** Any answer at all will do. Errors: not_ready when nobody listens after a short while. */
  async reach(): Promise<void> {
    const giveUpMs = performance.now() + REACH_TIMEOUT_MS;
    for (;;) {
      try {
        await (await this.#fetch("GET", "/healthz", null)).arrayBuffer();
        return;
      } catch (error) {
        if (performance.now() > giveUpMs) {
          const message = `Nothing answers at "${this.#baseUrl}"; start a node or give its --url`;
          throw new CatchallError("not_ready", message, { cause: error });
        }
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  }

  /** Answers in the order asked; null for a name that the service refused. */
  async lookup(domains: readonly string[]): Promise<readonly (DomainAnswer | null)[]> {
    const answer = (await this.#json("POST", "/domains/lookup", { domains })) as {
      readonly results?: readonly Record<string, unknown>[];
    } | null;
    const results = answer?.results;
    if (!Array.isArray(results) || results.length !== domains.length) {
      throw new CatchallError("internal", "Lookup did not answer every domain");
    }
    return results.map((result: Record<string, unknown>) => {
      const { delivered, bounced, status } = result;
      if (typeof delivered !== "number" || typeof bounced !== "number") return null;
      return {
        delivered,
        bounced,
        status: String(status),
        overridden: result["overridden"] === true,
      };
    });
  }

  /** The rule in force; the default one where the service does not tell. */
  async rule(): Promise<Rule> {
    const answer = (await this.#json("GET", "/cluster/rule", null)) as Partial<Rule> | null;
    if (typeof answer?.deliveredThreshold !== "number") return DEFAULT_RULE;
    return {
      deliveredThreshold: answer.deliveredThreshold,
      bouncedThreshold: answer.bouncedThreshold ?? DEFAULT_RULE.bouncedThreshold,
      maxBounceRatio: answer.maxBounceRatio ?? null,
    };
  }

  /** What the node says about its CPU time, or null where it does not tell. */
  async cpu(): Promise<NodeCpu | null> {
    try {
      const response = await this.#fetch("GET", "/metrics", null);
      return parseNodeCpu(await response.text());
    } catch {
      return null;
    }
  }

  /** Null for 404. */
  async #json(method: string, path: string, body: unknown): Promise<unknown> {
    const giveUpMs = performance.now() + this.#deadlineMs;
    for (;;) {
      let failure: unknown;
      try {
        const response = await this.#fetch(method, path, body);
        if (response.ok) return await response.json();
        const text = await response.text();
        if (response.status === 404) return null;
        failure = new CatchallError("internal", `${method} ${path}: ${response.status} ${text}`);
        if (response.status !== 503 && response.status !== 429) throw failure;
      } catch (error) {
        if (error instanceof CatchallError) throw error;
        failure = error;
      }
      if (performance.now() > giveUpMs) throw failure;
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  }

  #fetch(method: string, path: string, body: unknown): Promise<Response> {
    const headers: Record<string, string> = {};
    if (this.#token !== null) headers["authorization"] = `Bearer ${this.#token}`;
    if (body !== null) headers["content-type"] = "application/json";
    return fetch(`${this.#baseUrl}${path}`, {
      method,
      headers,
      body: body === null ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  }
}
