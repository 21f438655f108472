/**
 * What the client sends and what a node answers, as types. They follow the HTTP contract (GET /openapi.json); fields
 * that a later node adds are passed through untouched.
 */

import type { EventKindName } from "../model/event.ts";
import type { Rule, StatusName } from "../model/status.ts";

export type { EventKindName } from "../model/event.ts";
export type { ImportChunk, ImportedDomain, ImportPlace } from "../model/import-chunk.ts";
export type { Rule, StatusName } from "../model/status.ts";

/** Status of one domain with its evidence. Times are RFC 3339, null for a domain never seen. */
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
  readonly override?: {
    readonly status: StatusName;
    readonly reason: string;
    readonly by: string;
    readonly at: string;
  };
  readonly node: string;
  readonly asOf: string;
}

/** A domain that could not be looked up; `error` is a problem document or its code. */
export interface LookupError {
  readonly domain: string;
  readonly error: unknown;
}

export interface LookupResult {
  readonly results: readonly (DomainStatus | LookupError)[];
  readonly summary: Readonly<Record<StatusName | "invalid", number>>;
}

/** One event of a bulk request. `count` 1 to 1000000 (default 1); `id` deduplicates. */
export interface EventInput {
  readonly domain: string;
  readonly type: EventKindName;
  readonly count?: number;
  readonly id?: string;
}

export interface BulkResult {
  readonly accepted: number;
  readonly replayed: number;
  readonly rejected: readonly {
    readonly index: number;
    readonly code: string;
    readonly message: string;
  }[];
}

/** `replayed`: the id was seen before and the event was not counted again. */
export interface EventResult {
  readonly replayed: boolean;
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

export interface RuleReport {
  readonly rule: Rule;
  readonly transitions: readonly {
    readonly from: StatusName;
    readonly to: StatusName;
    readonly count: number;
  }[];
  readonly domainsChanged: number;
}

export interface StatusChange {
  readonly id: string;
  readonly domain: string;
  readonly from: StatusName;
  readonly to: StatusName;
  readonly delivered: number;
  readonly bounced: number;
  readonly at: string;
}

/**
 * One server-sent event, parsed. A watch of one domain begins with its `status` of now, also after it had to connect
 * again; every `change` after that follows.
 */
export type WatchEvent =
  | { readonly event: "status"; readonly id: string | null; readonly body: DomainStatus }
  | { readonly event: "change"; readonly id: string | null; readonly body: StatusChange };

export interface ClusterNode {
  readonly id: string;
  readonly incarnation: number;
  readonly state: string;
  readonly partitionsOwned: number;
  readonly leaseRemainingMs: number | null;
  readonly walLagEvents: number;
  readonly checkpointAgeMs: number | null;
}

export interface PartitionOwner {
  readonly partition: number;
  readonly node: string;
  readonly epoch: number;
  readonly state: string;
}

export interface ClusterView {
  readonly cluster: string;
  readonly mode: "embedded" | "cluster";
  readonly epoch: number;
  readonly partitions: number;
  readonly nodes: readonly ClusterNode[];
  readonly owners: readonly PartitionOwner[];
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
  readonly state: "done" | "running" | "cancelled" | "failed";
  readonly done: number;
  readonly total: number;
  readonly bytes: number;
  readonly etaMs: number | null;
}

/** `added`: domains that were new; the others were imported before. */
export interface ImportReport {
  readonly domains: number;
  readonly added: number;
}

export interface Readiness {
  readonly ready: boolean;
  readonly reasons?: readonly string[];
  readonly checks?: Readonly<Record<string, string>>;
}
