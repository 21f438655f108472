/**
 * Adds a chunk of another store to a partition. Counts add up, times widen, the status is the target's own to decide.
 * Safety: whether a chunk counts was decided before it was appended (import-admission.ts), as for keys; a chunk that is
 * in the log always counts, so that replay over a page or a meta image of a later position comes to the same.
 */

import type { CounterTable } from "../counters/counter-table.ts";
import type { DomainName } from "../model/domain-name.ts";
import {
  type ImportChunk,
  type ImportedDomain,
  type ImportPlace,
  importPlaceOf,
  isPlaceAfter,
} from "../model/import-chunk.ts";
import { STATUS_NAMES, type StatusCode } from "../model/status.ts";
import type { Override } from "./partition-state.ts";

/** How far a source has come in one partition: its last domain. */
export interface ImportMark extends ImportPlace {
  readonly digest: string;
}

/** What of a partition's state an import may touch. */
export interface ImportTarget {
  readonly table: CounterTable;
  /** By store id of the source. */
  readonly imports: Map<number, ImportMark>;
  /** True while the page of a row was restored at a later position. */
  isEntryAhead(entry: number): boolean;
  findOrInsert(domain: DomainName): number;
  /** Brings the status of a row to the rule in force. */
  settle(entry: number): void;
  overrideOf(entry: number): Override | undefined;
  setOverride(entry: number, override: Override): void;
  /** By override or rule. */
  statusOf(entry: number): StatusCode;
  announce(entry: number, from: StatusCode, to: StatusCode): void;
}

/** `timeMs`: of the entry. */
export function applyImport(target: ImportTarget, chunk: ImportChunk, timeMs: number): void {
  const { source, domains } = chunk;
  const mark = target.imports.get(source.storeId) ?? null;
  const last = importPlaceOf((domains.at(-1) as ImportedDomain).domain);
  if (isPlaceAfter(last, mark)) {
    target.imports.set(source.storeId, { digest: source.digest, ...last });
  }
  for (const imported of domains) {
    const entry = target.findOrInsert(imported.domain);
    target.settle(entry);
    const { override } = imported;
    // An override that is there was set knowing this cluster; it stays.
    if (override !== undefined && target.overrideOf(entry) === undefined) {
      target.setOverride(entry, override);
    }
    if (!target.isEntryAhead(entry)) applyDomain(target, entry, imported, timeMs);
  }
}

function applyDomain(
  target: ImportTarget,
  entry: number,
  imported: ImportedDomain,
  timeMs: number,
): void {
  const { table } = target;
  const from = table.status(entry);
  const fromMs = table.statusSinceMs(entry);
  table.merge(entry, imported);
  const to = target.statusOf(entry);
  const sinceMs = statusSince(imported, { from, fromMs, to, timeMs });
  if (to !== from || sinceMs !== fromMs) table.setStatus(entry, to, sinceMs);
  if (to !== from) target.announce(entry, from, to);
}

/** A status that the source had as well is as old as the source says; any other change is of now. */
function statusSince(
  imported: ImportedDomain,
  change: { from: StatusCode; fromMs: number; to: StatusCode; timeMs: number },
): number {
  const { from, fromMs, to, timeMs } = change;
  const sourceMs = imported.statusSinceMs;
  const isOfSource = STATUS_NAMES[to] === imported.status && sourceMs !== 0;
  if (to !== from) return isOfSource ? sourceMs : timeMs;
  return isOfSource ? Math.min(fromMs, sourceMs) : fromMs;
}
