/**
 * The clients of a chaos run: workers that write and read through all nodes at once, at a bounded rate, and put all of it
 * into the history. Three kinds of domains: keyed (every write is repeated until its outcome is known), plain (a write
 * is sent once), hot (few, with both, read again and again). Counts differ, so that one lost and one doubled event don't
 * make up for each other. Must never call an attempt certain that is not: see http-client.ts.
 */

import type { SeededRandom } from "../../src/cli/load/seeded-random.ts";
import type { Violation } from "./checkers.ts";
import type { EventType, History, Outcome, Status, Write } from "./history.ts";
import type { ChaosClient, ClientAnswer } from "./http-client.ts";

export interface WorkloadOptions {
  readonly history: History;
  readonly clients: ReadonlyMap<string, ChaosClient>;
  readonly random: SeededRandom;
  /** Begins the names of domains and keys: another one every round. */
  readonly prefix: string;
  readonly domains: number;
  readonly workers: number;
  /** Requests in a second, all workers together. */
  readonly rate: number;
}

/** By what was told: "PUT 204", "PUT 503 no_owner". */
export type Told = Map<string, number>;

interface Body {
  readonly domain?: string;
  readonly delivered?: number;
  readonly bounced?: number;
  readonly status?: Status;
  readonly results?: readonly Body[];
  readonly rejected?: readonly { readonly index: number; readonly code: string }[];
  readonly unknown?: readonly number[];
}

const COUNTS: readonly number[] = [1, 1, 1, 2, 3, 5, 7, 11];
const HOT_DOMAINS = 12;
const BOUNCED_SHARE = 0.15;
/** A write whose attempts were all refused is given up this often, and then must never appear. */
const GIVE_UP_SHARE = 0.3;
const TRIES_MAX = 8;
const BACKOFF_MS = 150;
const BULK_LINES_MAX = 20;
/** What is under way when something breaks stays unknown for ever: few lines, and many domains. */
const PLAIN_BULK_LINES_MAX = 4;
const PLAIN_DOMAINS_FACTOR = 3;
const LOOKUP_DOMAINS = 20;
const REPEATABLE_MAX = 200;
const FINAL_LOOKUP_DOMAINS = 500;
const FINAL_TRIES_MAX = 60;

export class Workload {
  readonly #options: WorkloadOptions;
  readonly #nodes: readonly string[];
  readonly #unsettled: Write[] = [];
  /** Acknowledged writes with a key. */
  readonly #repeatable: Write[] = [];
  readonly told: Told = new Map();
  readonly violations: Violation[] = [];
  #isStopping = false;
  #keys = 0;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#nodes = [...options.clients.keys()];
  }

  /** Runs until `stop`; resolves when every worker has ended what it was doing. */
  async run(): Promise<void> {
    const { workers, rate } = this.#options;
    const spacingMs = (1000 * workers) / rate;
    await Promise.all(
      Array.from({ length: workers }, async (_, i) => {
        await pause((spacingMs * i) / workers);
        let dueMs = performance.now();
        while (!this.#isStopping) {
          await this.#operation();
          dueMs = Math.max(dueMs + spacingMs, performance.now() - spacingMs);
          await pause(dueMs - performance.now());
        }
      }),
    );
  }

  stop(): void {
    this.#isStopping = true;
  }

  /** Sends every write with a key whose outcome is unknown until it is known. The cluster is well by now. */
  async settleAll(): Promise<void> {
    for (let tries = 0; tries < FINAL_TRIES_MAX && this.#unsettled.length > 0; tries++) {
      if (tries > 0) await pause(BACKOFF_MS);
      const writes = this.#unsettled.splice(0);
      const singles = writes.filter(({ count }) => count === 1);
      await inTurns(singles, 16, (write) => this.#attempt(write));
      const lines = writes.filter(({ count }) => count > 1);
      for (let at = 0; at < lines.length; at += FINAL_LOOKUP_DOMAINS) {
        await this.#bulkAttempt(lines.slice(at, at + FINAL_LOOKUP_DOMAINS));
      }
      this.#unsettled.push(...writes.filter(({ outcome }) => outcome === "unknown"));
    }
    for (const { domain, key } of this.#unsettled) {
      const text = `key ${key} has no outcome although the cluster is well`;
      this.violations.push({ rule: "unanswered", domain, text });
    }
  }

  /** Reads every domain through every node into the history. */
  async readAll(domains: readonly string[]): Promise<void> {
    for (const node of this.#nodes) {
      const chunks: string[][] = [];
      for (let at = 0; at < domains.length; at += FINAL_LOOKUP_DOMAINS) {
        chunks.push(domains.slice(at, at + FINAL_LOOKUP_DOMAINS));
      }
      await inTurns(chunks, 2, async (chunk) => {
        let missing: readonly string[] = chunk;
        for (let tries = 0; missing.length > 0; tries++) {
          if (tries === FINAL_TRIES_MAX) {
            const text = `${node} does not answer for ${missing.length} domains`;
            this.violations.push({ rule: "unanswered", domain: missing[0] ?? "", text });
            return;
          }
          if (tries > 0) await pause(BACKOFF_MS);
          const found = await this.#lookup(node, missing);
          missing = missing.filter((domain) => !found.has(domain));
        }
      });
    }
  }

  async #operation(): Promise<void> {
    const dice = this.#options.random.below(100);
    if (dice < 33) return await this.#writeUntilKnown(this.#keyedWrite(this.#domain("k")));
    if (dice < 43) return await this.#attempt(this.#plainWrite(this.#domain("p")));
    if (dice < 53) return await this.#bulk("k");
    if (dice < 56) return await this.#bulk("p");
    if (dice < 60) return await this.#writeUntilKnown(this.#keyedWrite(this.#domain("h")));
    if (dice < 62) return await this.#attempt(this.#plainWrite(this.#domain("h")));
    if (dice < 67) return await this.#repeat();
    if (dice < 78) return await this.#read(this.#domain("h"));
    if (dice < 91) return await this.#read(this.#domain(this.#pick(["k", "p"])));
    if (dice < 95) return await this.#readStatus(this.#domain("h"));
    const domains = Array.from({ length: LOOKUP_DOMAINS }, () => this.#domain(this.#pick("kph")));
    await this.#lookup(this.#pick(this.#nodes), [...new Set(domains)]);
  }

  #domain(kind: string): string {
    const { random, domains, prefix } = this.#options;
    const many = kind === "p" ? PLAIN_DOMAINS_FACTOR * domains : domains;
    return `${kind}${random.below(kind === "h" ? HOT_DOMAINS : many)}.${prefix}.example`;
  }

  #event(domain: string): Pick<Write, "domain" | "type" | "count"> {
    const isBounced = this.#options.random.unit() < BOUNCED_SHARE;
    return { domain, type: isBounced ? "bounced" : "delivered", count: 1 };
  }

  #plainWrite(domain: string, count = 1): Write {
    return this.#options.history.write({ ...this.#event(domain), count, key: null });
  }

  #keyedWrite(domain: string, count = 1): Write {
    const key = `${this.#options.prefix}-${this.#keys++}`;
    return this.#options.history.write({ ...this.#event(domain), count, key });
  }

  /** Another node, or the same, time after time; what stays unknown is settled in the end. */
  async #writeUntilKnown(write: Write): Promise<void> {
    for (let tries = 1; ; tries++) {
      await this.#attempt(write);
      if (write.outcome === "acked") break;
      const isLast = tries === TRIES_MAX || this.#isStopping;
      if (write.outcome === "none" && (isLast || this.#chance(GIVE_UP_SHARE))) return;
      if (isLast) {
        this.#unsettled.push(write);
        return;
      }
      await pause(BACKOFF_MS * this.#options.random.unit() * tries);
    }
    this.#remember(write);
  }

  async #attempt(write: Write): Promise<void> {
    const { history } = this.#options;
    const node = this.#pick(this.#nodes);
    const couldBeApplied = write.outcome !== "none";
    const { domain, type, key } = write;
    history.attempt(write, node, performance.now());
    const answer = await this.#send(node, "PUT", `/events/${domain}/${type}`, { key });
    history.settle(write, answer.outcome, performance.now(), `${node} ${answer.told}`);
    if (answer.isReplayed && !couldBeApplied) {
      const text = `${node} says that #${write.id} is a repetition; it was never sent before`;
      this.violations.push({ rule: "key", domain, text });
    }
  }

  async #bulk(kind: string): Promise<void> {
    const { random } = this.#options;
    const size = 2 + random.below((kind === "k" ? BULK_LINES_MAX : PLAIN_BULK_LINES_MAX) - 1);
    const writes = Array.from({ length: size }, () => {
      const domain = this.#domain(kind);
      const count = this.#pick(COUNTS);
      return kind === "k" ? this.#keyedWrite(domain, count) : this.#plainWrite(domain, count);
    });
    await this.#bulkAttempt(writes);
    if (kind !== "k") return;
    for (let tries = 1; tries < TRIES_MAX && !this.#isStopping; tries++) {
      const open = writes.filter(({ outcome }) => outcome === "unknown");
      if (open.length === 0) break;
      await pause(BACKOFF_MS * random.unit() * tries);
      await this.#bulkAttempt(open);
    }
    this.#unsettled.push(...writes.filter(({ outcome }) => outcome === "unknown"));
  }

  async #bulkAttempt(writes: readonly Write[]): Promise<void> {
    const { history } = this.#options;
    const node = this.#pick(this.#nodes);
    const lines = writes.map(({ domain, type, count, key }) => {
      return JSON.stringify({ domain, type, count, ...(key === null ? {} : { id: key }) });
    });
    const startMs = performance.now();
    for (const write of writes) history.attempt(write, node, startMs);
    const answer = await this.#send(node, "POST", "/events", { body: lines.join("\n") });
    const endMs = performance.now();
    const outcomes = outcomesOfLines(writes.length, answer);
    for (const [i, write] of writes.entries()) {
      history.settle(write, outcomes[i] ?? "unknown", endMs, `${node} bulk ${answer.told}`);
    }
  }

  /**
   * An acknowledged key again: as it was, or for another event. An owner that took over while the repetition was under
   * way can't always tell it from the first one; the answer then lacks the word, which is counted, not judged.
   */
  async #repeat(): Promise<void> {
    if (this.#repeatable.length === 0) return;
    const { domain, type, key, id } = this.#pick(this.#repeatable);
    const node = this.#pick(this.#nodes);
    const isSame = this.#chance(0.8);
    const other: EventType = type === "delivered" ? "bounced" : "delivered";
    const repeated = isSame ? type : other;
    const startMs = performance.now();
    const answer = await this.#send(node, "PUT", `/events/${domain}/${repeated}`, { key });
    const told = `${repeated} again from ${startMs}: ${node} ${answer.told}`;
    this.#options.history.remark(performance.now(), `#${id} ${key} ${domain} ${told}`);
    if (answer.outcome !== "acked") return;
    if (!isSame) {
      const text = `${node} acknowledged another event under the key of #${id}`;
      this.violations.push({ rule: "key", domain, text });
    } else if (!answer.isReplayed) {
      this.#count("repetition told as a first one");
    }
  }

  async #read(domain: string): Promise<void> {
    const node = this.#pick(this.#nodes);
    const startMs = performance.now();
    const { status, body } = await this.#send(node, "GET", `/domains/${domain}`, {});
    if (status === 200) this.#record(node, startMs, body as Body);
  }

  async #readStatus(domain: string): Promise<void> {
    const node = this.#pick(this.#nodes);
    const startMs = performance.now();
    const answer = await this.#send(node, "GET", `/domains/${domain}`, { accept: "text/plain" });
    if (answer.status !== 200) return;
    const status = String(answer.body).trim() as Status;
    const endMs = performance.now();
    this.#options.history.read({ domain, node, startMs, endMs, counts: null, status });
  }

  /** The domains that were answered. */
  async #lookup(node: string, domains: readonly string[]): Promise<ReadonlySet<string>> {
    const startMs = performance.now();
    const body = JSON.stringify({ domains });
    const answer = await this.#send(node, "POST", "/domains/lookup", { body });
    const results = answer.status === 200 ? ((answer.body as Body).results ?? []) : [];
    const found = new Set<string>();
    for (const result of results) {
      if (result.domain === undefined || result.delivered === undefined) continue;
      this.#record(node, startMs, result);
      found.add(result.domain);
    }
    return found;
  }

  #record(node: string, startMs: number, body: Body): void {
    const { domain = "", delivered = Number.NaN, bounced = Number.NaN, status = "unknown" } = body;
    const endMs = performance.now();
    const counts = { delivered, bounced };
    this.#options.history.read({ domain, node, startMs, endMs, counts, status });
  }

  async #send(
    node: string,
    method: string,
    path: string,
    { key = null, body, accept = "application/json" }: SendOptions,
  ): Promise<ClientAnswer> {
    const client = this.#options.clients.get(node) as ChaosClient;
    const isLines = path === "/events";
    const answer = await client.send({
      ...{ method, path },
      headers: {
        accept,
        ...(key === null ? {} : { "idempotency-key": key }),
        ...(body === undefined
          ? {}
          : { "content-type": isLines ? "application/x-ndjson" : "application/json" }),
      },
      ...(body === undefined ? {} : { body }),
    });
    this.#count(`${isLines ? "bulk" : method} ${answer.told}`);
    return answer;
  }

  #count(told: string): void {
    this.told.set(told, (this.told.get(told) ?? 0) + 1);
  }

  #remember(write: Write): void {
    const at = this.#options.random.below(REPEATABLE_MAX);
    if (this.#repeatable.length < REPEATABLE_MAX) this.#repeatable.push(write);
    else this.#repeatable[at] = write;
  }

  #chance(share: number): boolean {
    return this.#options.random.unit() < share;
  }

  #pick<T>(items: ArrayLike<T>): T {
    return items[this.#options.random.below(items.length)] as T;
  }
}

interface SendOptions {
  readonly key?: string | null;
  readonly body?: string;
  readonly accept?: string;
}

/** What the answer to a body of lines says of each of them. Exported for tests. */
export function outcomesOfLines(count: number, answer: ClientAnswer): readonly Outcome[] {
  const { outcome, status } = answer;
  const { rejected, unknown } = (answer.body ?? {}) as Body;
  if (status !== 200 && !(status === 504 && unknown !== undefined)) {
    return Array.from({ length: count }, () => (outcome === "acked" ? "unknown" : outcome));
  }
  const outcomes: Outcome[] = Array.from({ length: count }, () => "acked");
  for (const { index } of rejected ?? []) outcomes[index] = "none";
  for (const index of unknown ?? []) outcomes[index] = "unknown";
  return outcomes;
}

async function inTurns<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items.values();
  const lane = async (): Promise<void> => {
    for (const item of iterator) await work(item);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

async function pause(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
