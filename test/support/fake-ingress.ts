/**
 * An ingress in memory: counts exactly, deduplicates ids for ever, and fails on request. Settles at once, or when the
 * test says so.
 */
import type { DomainName, DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED, type EventKind } from "../../src/model/event.ts";
import type { ImportChunk } from "../../src/model/import-chunk.ts";
import {
  classify,
  DEFAULT_RULE,
  type Rule,
  reasonOf,
  STATUS_NAMES,
  type StatusName,
} from "../../src/model/status.ts";
import type { StatusChange } from "../../src/model/status-change.ts";
import type {
  ClusterView,
  DomainLocation,
  DomainPage,
  DomainStatus,
  EventOutcome,
  EventReply,
  ImportReport,
  Ingress,
  OverrideRecord,
  Readiness,
  RebalancePlan,
  RebalanceProgress,
  RuleReport,
  Stats,
} from "../../src/router/ingress.ts";
import { COMMITTED, REPLAYED } from "../../src/router/ingress.ts";

export interface SubmittedEvent {
  readonly domain: string;
  readonly kind: EventKind;
  readonly count: number;
  readonly eventId: string | null;
}

const TIME = "2026-11-21T10:00:00.000Z";

export class FakeIngress implements Ingress {
  readonly nodeId = "n1";
  pendingEvents = 0;
  pendingEventsMax = 1000;
  pendingEventsPeak = 0;
  submitted: SubmittedEvent[] = [];
  ready: Readiness = { ready: true, reasons: [], checks: { log: "ok" } };
  /** Overrides the outcome of an event. */
  outcomeOf: (event: SubmittedEvent) => EventOutcome | null = () => null;
  /** When set, every asynchronous call rejects with it. */
  failure: Error | null = null;
  isDeferred = false;
  readonly counts: Map<string, { delivered: number; bounced: number }> = new Map();
  readonly by: string[] = [];
  listeners: Set<(change: StatusChange) => void> = new Set();
  #rule: Rule = DEFAULT_RULE;
  readonly #ids: Set<string> = new Set();
  readonly #overrides: Map<string, OverrideRecord> = new Map();
  readonly #deferred: (() => void)[] = [];

  submit(
    domain: DomainParser,
    kind: EventKind,
    count: number,
    eventId: string | null,
    reply: EventReply,
    index: number,
  ): void {
    if (this.pendingEvents >= this.pendingEventsMax) {
      reply.settled(index, new CatchallError("overloaded"));
      return;
    }
    const event: SubmittedEvent = { domain: domain.name(), kind, count, eventId };
    this.submitted.push(event);
    this.pendingEvents++;
    this.pendingEventsPeak = Math.max(this.pendingEventsPeak, this.pendingEvents);
    const settle = (): void => {
      this.pendingEvents--;
      reply.settled(index, this.#commit(event));
    };
    if (this.isDeferred) this.#deferred.push(settle);
    else settle();
  }

  /** Settles what is waiting. */
  settleAll(): void {
    for (const settle of this.#deferred.splice(0)) settle();
  }

  #commit(event: SubmittedEvent): EventOutcome {
    const forced = this.outcomeOf(event);
    if (forced !== null) return forced;
    const id = `${event.domain} ${event.eventId}`;
    if (event.eventId !== null && this.#ids.has(id)) return REPLAYED;
    if (event.eventId !== null) this.#ids.add(id);
    const counts = this.counts.get(event.domain) ?? { delivered: 0, bounced: 0 };
    if (event.kind === DELIVERED) counts.delivered += event.count;
    if (event.kind === BOUNCED) counts.bounced += event.count;
    this.counts.set(event.domain, counts);
    return COMMITTED;
  }

  async statuses(domains: readonly DomainName[]): Promise<DomainStatus[]> {
    this.#mayFail();
    return domains.map((domain) => this.#statusOf(domain));
  }
  async status(domain: DomainName): Promise<DomainStatus> {
    this.#mayFail();
    return this.#statusOf(domain);
  }
  async page(query: {
    readonly status: StatusName | null;
    readonly cursor: string | null;
    readonly limit: number;
  }): Promise<DomainPage> {
    this.#mayFail();
    const after = query.cursor ?? "";
    const names = [...this.counts.keys()].sort().filter((name) => name > after);
    const all = names
      .map((name) => this.#statusOf(name))
      .filter((item) => (query.status ?? item.status) === item.status);
    const items = all.slice(0, query.limit);
    return { items, nextCursor: all.length > items.length ? (items.at(-1)?.domain ?? null) : null };
  }
  async stats(): Promise<Stats> {
    this.#mayFail();
    const domains = { "catch-all": 0, "not catch-all": 0, unknown: this.counts.size };
    return {
      domains,
      delivered: 0,
      bounced: 0,
      nodes: [{ node: "n1", domains, delivered: 0, bounced: 0 }],
      asOf: TIME,
    };
  }
  rule(): Rule {
    return this.#rule;
  }
  async tryRule(rule: Rule): Promise<RuleReport> {
    this.#mayFail();
    return {
      rule,
      transitions: [{ from: "unknown", to: "catch-all", count: 2 }],
      domainsChanged: 2,
    };
  }
  async setRule(rule: Rule, by: string): Promise<RuleReport> {
    const report = await this.tryRule(rule);
    this.#rule = rule;
    this.by.push(by);
    return report;
  }
  async setOverride(
    domain: DomainName,
    override: { readonly status: StatusName; readonly reason: string },
    by: string,
  ): Promise<DomainStatus> {
    this.#mayFail();
    this.by.push(by);
    this.#overrides.set(domain, { ...override, by, at: TIME });
    return this.#statusOf(domain);
  }
  async removeOverride(domain: DomainName, by: string): Promise<void> {
    this.#mayFail();
    this.by.push(by);
    if (!this.#overrides.delete(domain)) throw new CatchallError("override_not_found");
  }
  async reset(domain: DomainName, by: string): Promise<void> {
    this.#mayFail();
    this.by.push(by);
    this.counts.delete(domain);
  }
  onStatusChange(listener: (change: StatusChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  emit(change: StatusChange): void {
    for (const listener of this.listeners) listener(change);
  }
  readiness(): Readiness {
    return this.ready;
  }
  async cluster(): Promise<ClusterView> {
    this.#mayFail();
    return {
      cluster: "catchall",
      mode: "embedded",
      epoch: 1,
      partitions: 64,
      nodes: [],
      owners: [],
      handoffs: [],
      log: { kind: "file", synced: true, sizeBytes: 0 },
    };
  }
  async locate(domain: DomainName): Promise<DomainLocation> {
    this.#mayFail();
    return { domain, hash: 1, partition: 0, owner: "n1", epoch: 1 };
  }
  async rebalance(_options: { readonly isDryRun: boolean }): Promise<RebalancePlan> {
    this.#mayFail();
    return { id: "r/1", moves: [{ partition: 0, from: "n1", to: "n2" }] };
  }
  async rebalanceProgress(id: string): Promise<RebalanceProgress> {
    this.#mayFail();
    if (id !== "r/1") throw new CatchallError("rebalance_not_found");
    return { id, state: "running", done: 1, total: 2, bytes: 3, etaMs: null };
  }
  async cancelRebalance(id: string): Promise<RebalanceProgress> {
    const progress = await this.rebalanceProgress(id);
    return { ...progress, state: "cancelled", etaMs: 0 };
  }
  async importChunk(chunk: ImportChunk, by: string): Promise<ImportReport> {
    this.#mayFail();
    this.by.push(by);
    return {
      domains: chunk.domains.length,
      added: chunk.previous === null ? chunk.domains.length : 0,
    };
  }
  async drain(node: string): Promise<RebalancePlan> {
    this.#mayFail();
    if (node === "n1") throw new CatchallError("drain_impossible");
    if (node !== "n2") throw new CatchallError("node_not_found");
    return { id: "r2", moves: [] };
  }

  #statusOf(domain: string): DomainStatus {
    const { delivered, bounced } = this.counts.get(domain) ?? { delivered: 0, bounced: 0 };
    const override = this.#overrides.get(domain);
    return {
      domain,
      status: override?.status ?? STATUS_NAMES[classify(this.#rule, delivered, bounced)],
      reason: reasonOf(this.#rule, delivered, bounced),
      delivered,
      bounced,
      threshold: this.#rule.deliveredThreshold,
      firstSeen: null,
      lastSeen: null,
      statusSince: null,
      overridden: override !== undefined,
      ...(override === undefined ? {} : { override }),
      node: this.nodeId,
      asOf: TIME,
    };
  }

  #mayFail(): void {
    if (this.failure !== null) throw this.failure;
  }
}
