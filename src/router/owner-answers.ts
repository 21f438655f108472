/**
 * Port: what the router asks the owners of the domains, wherever they are. `LocalAnswers` serves a node that is alone,
 * `PeerRequests` a cluster.
 * Errors: CatchallError; 503 with effect none when an owner can't answer now. Never partial, never stale.
 */

import type { DomainName } from "../model/domain-name.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
import type { Rule, StatusName } from "../model/status.ts";
import type { DomainReading, HostTotals, ListingPlace } from "../partition/partition-host.ts";
import type { Change } from "../partition/section-codec.ts";

/** A domain, who says so, and when. */
export interface OwnerReading {
  readonly reading: DomainReading;
  /** Node id of the owner. */
  readonly node: string;
  readonly asOfMs: number;
}

export interface NodeTotals extends HostTotals {
  readonly node: string;
}

export interface OwnerListing {
  readonly readings: readonly OwnerReading[];
  /** After the last reading; null at the end. */
  readonly next: ListingPlace | null;
}

/** A change of one domain, by an operator. */
export type DomainChange = Extract<Change, { readonly domain: DomainName }>;

export interface OwnerAnswers {
  /** At once when the owner is here; may throw or reject. */
  read(domain: DomainName): OwnerReading | Promise<OwnerReading>;
  list(status: StatusName | null, after: ListingPlace | null, limit: number): Promise<OwnerListing>;
  /** One row a node. */
  totals(): Promise<readonly NodeTotals[]>;
  /** [from][to] counts of the domains that would change. */
  tryRule(rule: Rule): Promise<number[][]>;
  /** Resolves once it is durable and applied. `outcome_unknown` when nobody can say; it is not tried again then. */
  change(change: DomainChange): Promise<void>;
  /**
   * Resolves once the chunk is durable and applied, to how many of its domains were new. Asking again is harmless.
   * Errors: `import_gap`, `import_changed`, `outcome_unknown`.
   */
  importChunk(chunk: ImportChunk, by: string): Promise<number>;
}
