/**
 * An embedded data directory as chunks that another store can take: held by the lock of the directory, read with the
 * production recovery, never changed.
 * Invariant: the same content has the same order (pages rising, names in byte order) and the same digest, on any machine.
 * So an import that was cut short goes on where it was, and one whose directory was used in between is noticed.
 */

import { createHash } from "node:crypto";
import { LocalControlStore } from "../control-plane/local-control-store.ts";
import type { DomainName } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import {
  IMPORT_CHUNK_BYTES,
  IMPORT_CHUNK_DOMAINS_MAX,
  type ImportChunk,
  type ImportedDomain,
  type ImportPlace,
} from "../model/import-chunk.ts";
import { PAGES, partitionOf } from "../model/partition-id.ts";
import { STATUS_NAMES, STATUS_UNSEEN } from "../model/status.ts";
import type { PartitionState } from "../partition/partition-state.ts";
import { lockDataDirectory } from "../runtime/node-data-lock.ts";
import { NodeDisk } from "../runtime/node-disk.ts";
import { readOnly } from "../runtime/read-only-disk.ts";
import { recoverDirectory } from "./recover-directory.ts";

export interface ImportSource {
  readonly source: ImportChunk["source"];
  readonly domainCount: number;
  /** The domains of the pages in [first, end), in order, cut into chunks. */
  chunks(first: number, end: number): Iterable<ImportChunk>;
}

export interface LockedImportSource extends ImportSource {
  /** Gives the directory free. */
  close(): Promise<void>;
}

/**
 * Locks and reads a data directory. Errors: `data_dir_locked` while a node uses it, `log_damaged`, `checkpoint_damaged`,
 * `conflict` when it is no data directory.
 */
export async function openImportSource(dataDir: string): Promise<LockedImportSource> {
  // Looked at before the lock, which leaves files: not in a directory that is none of ours.
  if ((await new LocalControlStore(readOnly(new NodeDisk(dataDir))).read()) === null) {
    throw new CatchallError("conflict", `"${dataDir}" is not a data directory of catchall`);
  }
  const lock = await lockDataDirectory(dataDir);
  try {
    const { storeId, states } = await recoverDirectory(dataDir);
    return { ...importSourceOf(storeId, states), close: () => lock.release() };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** `states`: of all partitions, in order, recovered. */
export function importSourceOf(
  storeId: number,
  states: readonly PartitionState[],
  domainsMax: number = IMPORT_CHUNK_DOMAINS_MAX,
): ImportSource {
  const hash = createHash("sha256");
  /** By page that has domains: the last of them. */
  const lasts: ImportPlace[] = [];
  let domainCount = 0;
  for (const { page, domain } of domainsOf(states, 0, PAGES)) {
    hash.update(JSON.stringify(domain));
    domainCount++;
    if (lasts.at(-1)?.page === page) lasts.pop();
    lasts.push({ page, domain: domain.domain });
  }
  const source = { storeId, digest: hash.digest("hex") };
  return {
    source,
    domainCount,
    *chunks(first, end) {
      let previous = lasts[indexOfPage(lasts, first) - 1] ?? null;
      for (const cut of cutsOf(domainsOf(states, first, end), domainsMax)) {
        const last = cut.at(-1) as Row;
        yield { source, previous, domains: cut.map(({ domain }) => domain) };
        previous = { page: last.page, domain: last.domain.domain };
      }
    },
  };
}

/** Index of the first place at or after a page; `places` ascend. */
function indexOfPage(places: readonly ImportPlace[], page: number): number {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((places[middle] as ImportPlace).page < page) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Row {
  readonly page: number;
  readonly domain: ImportedDomain;
}

function* cutsOf(rows: Iterable<Row>, domainsMax: number): Generator<Row[]> {
  let cut: Row[] = [];
  let bytes = 0;
  for (const row of rows) {
    const size = Buffer.byteLength(JSON.stringify(row.domain)) + 1;
    if (cut.length === domainsMax || (cut.length > 0 && bytes + size > IMPORT_CHUNK_BYTES)) {
      yield cut;
      cut = [];
      bytes = 0;
    }
    cut.push(row);
    bytes += size;
  }
  if (cut.length > 0) yield cut;
}

function* domainsOf(states: readonly PartitionState[], first: number, end: number): Generator<Row> {
  for (let page = first; page < end; page++) {
    const state = states[partitionOf(page << 16, states.length)] as PartitionState;
    state.settlePage(page);
    for (const entry of state.table.sortedPageEntries(page)) {
      if (state.table.status(entry) === STATUS_UNSEEN) continue;
      yield { page, domain: importedDomain(state, entry) };
    }
  }
}

function importedDomain(state: PartitionState, entry: number): ImportedDomain {
  const { table } = state;
  const override = state.overrideOf(entry);
  const domain: ImportedDomain = {
    domain: table.name(entry) as DomainName,
    delivered: table.delivered(entry),
    bounced: table.bounced(entry),
    firstSeenMs: table.firstSeenMs(entry),
    lastSeenMs: table.lastSeenMs(entry),
    status: STATUS_NAMES[table.status(entry)],
    statusSinceMs: table.statusSinceMs(entry),
  };
  if (override === undefined) return domain;
  const { status, reason, by, atMs } = override;
  return { ...domain, override: { status, reason, by, atMs } };
}
