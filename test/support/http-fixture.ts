/** The whole HTTP surface over fakes: hand-driven clock and timers, an ingress in memory, the real metrics. */
import { type AccessToken, parseTokens } from "../../src/http/access-tokens.ts";
import type { HttpSurface } from "../../src/http/handlers.ts";
import type { HttpLimits } from "../../src/http/http-deps.ts";
import { NODE_TOKEN_DIGEST } from "../../src/http/node-token-digest.ts";
import type { LogFields, Logger } from "../../src/runtime/logger.ts";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";
import type { Timers } from "../../src/runtime/timers.ts";
import { FakeHttp } from "./fake-http.ts";
import { FakeIngress } from "./fake-ingress.ts";
import { surfaceOver } from "./served-surface.ts";

export class ManualTime implements Timers {
  nowMs = 0;
  #pending: { atMs: number; work: () => void }[] = [];
  wallMs(): number {
    return Math.floor(this.nowMs);
  }
  monotonicMs(): number {
    return this.nowMs;
  }
  after(delayMs: number, work: () => void): { cancel(): void } {
    const entry = { atMs: this.nowMs + delayMs, work };
    this.#pending.push(entry);
    return { cancel: () => (this.#pending = this.#pending.filter((each) => each !== entry)) };
  }
  soon(work: () => void): void {
    setImmediate(work);
  }
  advance(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const next = this.#pending
        .filter((each) => each.atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#pending = this.#pending.filter((each) => each !== next);
      this.nowMs = next.atMs;
      next.work();
    }
    this.nowMs = endMs;
  }
}

export interface Fixture {
  readonly ingress: FakeIngress;
  readonly http: FakeHttp;
  readonly surface: HttpSurface;
  readonly time: ManualTime;
  readonly metrics: PrometheusMetrics;
  readonly logged: { readonly fields: LogFields; readonly message: string }[];
}

export interface FixtureOptions {
  readonly limits?: Partial<HttpLimits>;
  readonly tokens?: readonly AccessToken[];
  readonly host?: string;
  readonly scheme?: "http" | "https";
}

export function openFixture(options: FixtureOptions = {}): Fixture {
  const ingress = new FakeIngress();
  const time = new ManualTime();
  const metrics = new PrometheusMetrics({ withProcess: false });
  const logged: { fields: LogFields; message: string }[] = [];
  const log = (fields: LogFields, message: string): void => void logged.push({ fields, message });
  const logger: Logger = { debug: log, info: log, warn: log, error: log };
  const surface = surfaceOver({ ...options, ingress, clock: time, timers: time, metrics, logger });
  return { ingress, http: new FakeHttp(surface), surface, time, metrics, logged };
}

/** One token per role; the token is the word "secret-" and the role. */
export function roleTokens(): readonly AccessToken[] {
  const lines = (["read", "write", "admin"] as const).map((role) => {
    const sha256 = Buffer.from(NODE_TOKEN_DIGEST.sha256(`secret-${role}`)).toString("hex");
    return JSON.stringify({ name: `${role}er`, sha256, roles: [role] });
  });
  const { tokens, mistakes } = parseTokens(lines.join("\n"));
  if (mistakes.length > 0) throw new Error(mistakes.join());
  return tokens;
}

/** A URL that fits the pattern. */
export function urlOf(pattern: string): string {
  return pattern.replace(":domain", "example.com").replace(":id", "r%2F1").replace(":node", "n2");
}
