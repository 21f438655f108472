/**
 * What the surfaces (HTTP, later webhooks) may ask of a node. Every call works for every domain, whoever owns it.
 * Implemented by `router.ts`; handlers see only this.
 */

import type { DomainName, DomainParser } from "../model/domain-name.ts";
import type { CatchallError } from "../model/errors.ts";
import type { EventKind } from "../model/event.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
import type { Rule, StatusName } from "../model/status.ts";
import type { StatusChange } from "../model/status-change.ts";

/** Outcome of one submitted event: counted now, counted before under the same id, or an error. */
export const COMMITTED = 0;
export const REPLAYED = 1;
export type EventOutcome = typeof COMMITTED | typeof REPLAYED | CatchallError;

export interface EventReply {
  /** Called exactly once per submitted event, with the index given to `submit`. May be called before `submit` returns. */
  settled(index: number, outcome: EventOutcome): void;
}

export interface DomainStatus {
  readonly domain: string;
  readonly status: StatusName;
  readonly reason: string;
  readonly delivered: number;
  readonly bounced: number;
  readonly threshold: number;
  readonly firstSeen: string | null;
  readonly lastSeen: string | null;
  readonly statusSince: string | null;
  readonly overridden: boolean;
  /** Present when overridden. */
  readonly override?: OverrideRecord;
  readonly node: string;
  readonly asOf: string;
}

export interface OverrideRecord {
  readonly status: StatusName;
  readonly reason: string;
  readonly by: string;
  readonly at: string;
}

export interface DomainPage {
  readonly items: readonly DomainStatus[];
  /** Opaque; null at the end. Domains that are counted while paging are returned at most once. */
  readonly nextCursor: string | null;
}

export interface Totals {
  readonly domains: Readonly<Record<StatusName, number>>;
  readonly delivered: number;
  readonly bounced: number;
}

export interface Stats extends Totals {
  readonly nodes: readonly (Totals & { readonly node: string })[];
  readonly asOf: string;
}

export interface Transition {
  readonly from: StatusName;
  readonly to: StatusName;
  readonly count: number;
}

/** What a rule would change (dry run) or has changed. */
export interface RuleReport {
  readonly rule: Rule;
  readonly transitions: readonly Transition[];
  readonly domainsChanged: number;
}

export interface ClusterView {
  readonly cluster: string;
  readonly mode: "embedded" | "cluster";
  readonly epoch: number;
  readonly partitions: number;
  readonly nodes: readonly {
    readonly id: string;
    readonly incarnation: number;
    readonly state: "alive" | "draining" | "dead";
    readonly partitionsOwned: number;
    readonly leaseRemainingMs: number | null;
    readonly walLagEvents: number;
    readonly checkpointAgeMs: number | null;
  }[];
  readonly owners: readonly {
    readonly partition: number;
    readonly node: string;
    readonly epoch: number;
    readonly state: string;
  }[];
  readonly handoffs: readonly unknown[];
  readonly log: { readonly kind: string; readonly synced: boolean; readonly sizeBytes: number };
}

export interface DomainLocation {
  readonly domain: string;
  readonly hash: number;
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
}

export interface RebalancePlan {
  readonly id: string;
  readonly moves: readonly {
    readonly partition: number;
    readonly from: string;
    readonly to: string;
  }[];
}

export interface RebalanceProgress {
  readonly id: string;
  /** `failed`: it ended with moves left. */
  readonly state: "done" | "running" | "cancelled" | "failed";
  readonly done: number;
  readonly total: number;
  readonly bytes: number;
  readonly etaMs: number | null;
}

export interface ImportReport {
  /** Domains of the chunk. */
  readonly domains: number;
  /** Of these; the others were imported before. */
  readonly added: number;
}

export interface Readiness {
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly checks: Readonly<Record<string, string>>;
}

export interface Ingress {
  readonly nodeId: string;
  /** Events submitted and not yet settled, and the limit over which `submit` answers `overloaded`. */
  readonly pendingEvents: number;
  readonly pendingEventsMax: number;
  /**
   * Submits one event of the domain that `domain` parsed last (copied before return). Never throws; always settles.
   * Shape: count 1..1e6; eventId 1..255 visible ASCII or null.
   */
  submit(
    domain: DomainParser,
    kind: EventKind,
    count: number,
    eventId: string | null,
    reply: EventReply,
    index: number,
  ): void;
  /** Rejects with CatchallError (503) when the owner can't answer; never stale. In the order asked. */
  statuses(domains: readonly DomainName[]): Promise<DomainStatus[]>;
  status(domain: DomainName): Promise<DomainStatus>;
  page(query: {
    readonly status: StatusName | null;
    readonly cursor: string | null;
    readonly limit: number;
  }): Promise<DomainPage>;
  stats(): Promise<Stats>;
  rule(): Rule;
  tryRule(rule: Rule): Promise<RuleReport>;
  setRule(rule: Rule, by: string): Promise<RuleReport>;
  setOverride(
    domain: DomainName,
    override: { readonly status: StatusName; readonly reason: string },
    by: string,
  ): Promise<DomainStatus>;
  /** Rejects with `override_not_found` when there is none. */
  removeOverride(domain: DomainName, by: string): Promise<void>;
  reset(domain: DomainName, by: string): Promise<void>;
  /** Calls `listener` for each change after it is durable; returns the function that ends it. */
  onStatusChange(listener: (change: StatusChange) => void): () => void;
  readiness(): Readiness;
  cluster(): Promise<ClusterView>;
  locate(domain: DomainName): Promise<DomainLocation>;
  rebalance(options: { readonly isDryRun: boolean }): Promise<RebalancePlan>;
  /** Rejects with `rebalance_not_found`. */
  rebalanceProgress(id: string): Promise<RebalanceProgress>;
  /**
   * Ends a rebalance or drain before its moves are done; again is harmless. Rejects with `rebalance_not_found`, or
   * `conflict` when it is done or has failed.
   */
  cancelRebalance(id: string): Promise<RebalanceProgress>;
  /** Rejects with `node_not_found` or `drain_impossible`. */
  drain(node: string): Promise<RebalancePlan>;
  /**
   * Adds what is new of a chunk of another store. Rejects with `import_gap` when the domain before it is missing,
   * `import_changed` when the source is not as it was.
   */
  importChunk(chunk: ImportChunk, by: string): Promise<ImportReport>;
}
