/**
 * `--dropped-acks N`: a script of operations is run again and again, and the k-th time exactly its k-th acknowledgement
 * gets lost after what it acknowledges was stored; for every k from 1 to N, and for both kinds: JetStream's publish
 * acknowledgements (node ← NATS) and HTTP answers (client ← node). Each time the counts must be exact: nothing that was
 * stored is missing, and what was sent again counts once.
 */

import { HttpAnswerFilter, PublishAckFilter } from "./ack-filters.ts";
import { ChaosCluster } from "./chaos-cluster.ts";
import type { FoundViolation } from "./chaos-run.ts";
import {
  checkDomain,
  checkSameEverywhere,
  excerptOf,
  isExact,
  type Violation,
} from "./checkers.ts";
import { type DomainHistory, History, type Outcome, type Status, type Write } from "./history.ts";
import { ChaosClient, type ClientAnswer } from "./http-client.ts";
import { lastLinesOf } from "./node-end.ts";
import { outcomesOfLines } from "./workload.ts";

export interface DroppedAcksOptions {
  /** Operations of the script. */
  readonly operations: number;
  readonly leaseTtlMs: number;
  readonly onLine: (line: string) => void;
}

export type AckKind = "publish" | "http";

export interface DroppedAcksReport {
  readonly cases: Readonly<Record<AckKind, number>>;
  /** Cases in which the acknowledgement was really lost. */
  readonly lost: Readonly<Record<AckKind, number>>;
  /** Operations whose sender was told nothing, or that the outcome is unknown. */
  readonly unknown: Readonly<Record<AckKind, number>>;
  readonly operations: number;
  readonly domains: number;
  /** Of them without an unknown event. The count of the others is known too: all that was sent is stored. */
  readonly exactDomains: number;
  readonly violations: readonly FoundViolation[];
}

const NODES: readonly string[] = ["n1", "n2", "n3"];
const DELIVERED_THRESHOLD = 10;
/** Operations after the one whose acknowledgement is lost: what it did to the connection shows in them. */
const OPERATIONS_AFTER = 8;
const DOMAINS = 6;
const TRIES_MAX = 40;
const RETRY_MS = 100;
const BULK_LINES = 3;
const PROGRESS_EVERY = 20;

export async function runDroppedAcks(options: DroppedAcksOptions): Promise<DroppedAcksReport> {
  const watch = new AckWatch();
  const ends: FoundViolation[] = [];
  const cluster = await ChaosCluster.start({
    nodes: NODES,
    leaseTtlMs: options.leaseTtlMs,
    flags: ["--delivered-threshold", String(DELIVERED_THRESHOLD), "--partitions", "16"],
    filters: () => ({
      nats: () => new PublishAckFilter((stream) => watch.isPublishAckLost(stream)),
      http: () => new HttpAnswerFilter(() => watch.isLost("http")),
    }),
    onExit: (node, { how, output }) => {
      const text = `${node} ended by itself, ${how}`;
      ends.push({ rule: "process", domain: "", text, excerpt: lastLinesOf(output) });
    },
  });
  try {
    const report = await new DroppedAcks(options, cluster, watch).run();
    return { ...report, violations: [...ends, ...report.violations] };
  } finally {
    await cluster.dispose(false);
  }
}

/** Counts the acknowledgements of a script and lets one of them get lost. */
class AckWatch {
  #kind: AckKind | null = null;
  #left = 0;
  wasLost = false;

  arm(kind: AckKind, k: number): void {
    this.#kind = kind;
    this.#left = k;
    this.wasLost = false;
  }

  disarm(): void {
    this.#kind = null;
  }

  /** Only entries of logs: the control store's writes come when they like. */
  isPublishAckLost(stream: string): boolean {
    return stream.includes("_LOG_") && this.isLost("publish");
  }

  isLost(kind: AckKind): boolean {
    if (kind !== this.#kind || --this.#left !== 0) return false;
    this.wasLost = true;
    return true;
  }
}

class DroppedAcks {
  readonly #options: DroppedAcksOptions;
  readonly #watch: AckWatch;
  readonly #clients: ReadonlyMap<string, ChaosClient>;
  readonly #cases: Record<AckKind, number> = { publish: 0, http: 0 };
  readonly #lost: Record<AckKind, number> = { publish: 0, http: 0 };
  readonly #unknown: Record<AckKind, number> = { publish: 0, http: 0 };
  readonly #violations: FoundViolation[] = [];
  #operations = 0;
  readonly #totals = { domains: 0, exactDomains: 0 };

  constructor(options: DroppedAcksOptions, cluster: ChaosCluster, watch: AckWatch) {
    this.#options = options;
    this.#watch = watch;
    this.#clients = new Map(
      cluster.nodes.map(({ id, http }) => {
        const abandon = (port: number): boolean => http.abandon(port);
        return [id, new ChaosClient({ port: http.port, abandon }, 1)];
      }),
    );
  }

  async run(): Promise<DroppedAcksReport> {
    for (const kind of ["http", "publish"] as const) {
      for (let k = 1; k <= this.#options.operations; k++) {
        await this.#case(kind, k);
        if (k % PROGRESS_EVERY === 0 || k === this.#options.operations) {
          const found = `${this.#violations.length} violations`;
          this.#options.onLine(`${kind}: ${k} cases, ${this.#lost[kind]} lost, ${found}`);
        }
      }
    }
    for (const client of this.#clients.values()) client.close();
    for (const violation of checkLosses({ cases: this.#cases, lost: this.#lost })) {
      this.#violations.push({ ...violation, excerpt: [] });
    }
    return {
      ...{ cases: this.#cases, lost: this.#lost, unknown: this.#unknown },
      ...{ operations: this.#operations, ...this.#totals, violations: this.#violations },
    };
  }

  async #case(kind: AckKind, k: number): Promise<void> {
    const history = new History(null);
    const length = Math.min(this.#options.operations, k + OPERATIONS_AFTER);
    this.#cases[kind]++;
    this.#watch.arm(kind, k);
    for (let i = 0; i < length; i++) await this.#operation(history, kind, k, i);
    this.#watch.disarm();
    if (this.#watch.wasLost) this.#lost[kind]++;
    for (const domain of history.domains) {
      this.#totals.domains++;
      if (isExact(domain)) this.#totals.exactDomains++;
      const clients = this.#clients;
      const silent = await readEverywhere({ clients, history, domain: domain.domain });
      const found = [
        ...silent,
        ...checkDomain(domain, { deliveredThreshold: DELIVERED_THRESHOLD }),
        ...checkSameEverywhere(domain.domain, domain.reads),
        ...missingOf(domain),
      ];
      for (const violation of found) {
        this.#violations.push({
          ...violation,
          text: `${kind} acknowledgement ${k}: ${violation.text}`,
          excerpt: excerptOf(domain),
        });
      }
    }
  }

  /** One of four, by its number: single or lines, with or without a key. Through one node after another. */
  async #operation(history: History, kind: AckKind, k: number, i: number): Promise<void> {
    this.#operations++;
    const prefix = `${kind}${k}`;
    const isKeyed = i % 2 === 0;
    const lines = i % 4 < 2 ? 1 : BULK_LINES;
    const writes = Array.from({ length: lines }, (_, line) => {
      return history.write({
        domain: `d${(i + line) % DOMAINS}.${prefix}.example`,
        type: (i + line) % 7 === 6 ? "bounced" : "delivered",
        count: lines === 1 ? 1 : line + 1,
        key: isKeyed ? `${prefix}-${i}-${line}` : null,
      });
    });
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const node = NODES[(i + tries) % NODES.length] ?? "n1";
      const open = writes.filter(({ outcome }) => outcome !== "acked");
      await this.#attempt(history, node, open);
      if (tries === 0) this.#unknown[kind] += open.some(isUnknown) ? 1 : 0;
      // Without a key only what was certainly refused may be sent again.
      if (writes.every((write) => write.outcome === "acked" || (!isKeyed && isUnknown(write)))) {
        return;
      }
      await pause(RETRY_MS);
      if (!isKeyed && writes.some(isUnknown)) return;
    }
    const text = `operation ${i} of ${prefix} is not acknowledged after ${TRIES_MAX} tries`;
    this.#violations.push({ rule: "unanswered", domain: "", text, excerpt: [] });
  }

  async #attempt(history: History, node: string, writes: readonly Write[]): Promise<void> {
    const [first] = writes;
    if (first === undefined) return;
    for (const write of writes) history.attempt(write, node, performance.now());
    const answer = await this.#send(node, first, writes);
    const outcomes: readonly Outcome[] =
      first.count === 1 && writes.length === 1 && !answer.told.startsWith("200")
        ? [answer.outcome]
        : outcomesOfLines(writes.length, answer);
    for (const [i, write] of writes.entries()) {
      history.settle(write, outcomes[i] ?? "unknown", performance.now(), `${node} ${answer.told}`);
    }
  }

  #send(node: string, first: Write, writes: readonly Write[]): Promise<ClientAnswer> {
    const client = this.#clients.get(node) as ChaosClient;
    const { domain, type, key, count } = first;
    if (writes.length === 1 && count === 1) {
      const headers: Record<string, string> = key === null ? {} : { "idempotency-key": key };
      return client.send({ method: "PUT", path: `/events/${domain}/${type}`, headers });
    }
    const lines = writes.map((write) => {
      const { domain: name, type: kind, count: times, key: id } = write;
      return JSON.stringify({
        ...{ domain: name, type: kind, count: times },
        ...(id === null ? {} : { id }),
      });
    });
    const headers = { "content-type": "application/x-ndjson" };
    return client.send({ method: "POST", path: "/events", headers, body: lines.join("\n") });
  }
}

export interface ReadEverywhere {
  readonly clients: ReadonlyMap<string, Pick<ChaosClient, "send">>;
  readonly history: History;
  readonly domain: string;
  readonly triesMax?: number;
}

/** Reads the domain through every node into the history; a node that does not answer is a violation. */
export async function readEverywhere({
  clients,
  history,
  domain,
  triesMax = TRIES_MAX,
}: ReadEverywhere): Promise<readonly Violation[]> {
  const silent: Violation[] = [];
  for (const [node, client] of clients) {
    let tries = 0;
    while (!(await readOnce(client, history, node, domain))) {
      tries++;
      if (tries === triesMax) {
        const text = `${node} does not answer after ${tries} tries`;
        silent.push({ rule: "unanswered", domain, text });
        break;
      }
      await pause(RETRY_MS);
    }
  }
  return silent;
}

async function readOnce(
  client: Pick<ChaosClient, "send">,
  history: History,
  node: string,
  domain: string,
): Promise<boolean> {
  const startMs = performance.now();
  const answer = await client.send({ method: "GET", path: `/domains/${domain}` });
  if (answer.status !== 200) return false;
  const { delivered, bounced, status } = answer.body as {
    readonly delivered: number;
    readonly bounced: number;
    readonly status: Status;
  };
  const counts = { delivered, bounced };
  history.read({ domain, node, startMs, endMs: performance.now(), counts, status });
  return true;
}

/** A case that lost nothing has shown nothing. */
export function checkLosses({
  cases,
  lost,
}: Pick<DroppedAcksReport, "cases" | "lost">): readonly Violation[] {
  return (["http", "publish"] as const).flatMap((kind) => {
    if (lost[kind] === cases[kind]) return [];
    const text = `${lost[kind]} ${kind} acknowledgements were lost in ${cases[kind]} cases`;
    return [{ rule: "fault" as const, domain: "", text }];
  });
}

/** What was lost was an acknowledgement: all that was sent is stored, whatever its sender was told. */
function missingOf({ domain, writes, reads }: DomainHistory): readonly Violation[] {
  const counts = reads.at(-1)?.counts;
  if (counts === null || counts === undefined) {
    return [{ rule: "unanswered", domain, text: "is not answered" }];
  }
  return (["delivered", "bounced"] as const).flatMap((type) => {
    const sent = writes.filter((write) => write.type === type && write.outcome !== "none");
    const expected = sent.reduce((sum, { count }) => sum + count, 0);
    const text = `${type} is ${counts[type]}, ${expected} were stored`;
    return counts[type] === expected ? [] : [{ rule: "range" as const, domain, text }];
  });
}

function isUnknown({ outcome }: Write): boolean {
  return outcome === "unknown";
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
