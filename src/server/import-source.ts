/**
 * An embedded data directory as a list of chunks that another store can take: held by the lock of the directory, read
 * with the production recovery, never changed.
 * Invariant: the same content is cut into the same chunks with the same digest, on any machine: names in byte order
 * within a page, pages rising. So an import that was cut short goes on where it was, and one whose directory was used
 * in between is noticed.
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
  readonly chunkCount: number;
  /** The chunks of the pages in [first, end), in order. */
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

/** `states`: of all partitions, in order, recovered. `domainsMax`: of a chunk; part of what the digest stands for. */
export function importSourceOf(
  storeId: number,
  states: readonly PartitionState[],
  domainsMax: number = IMPORT_CHUNK_DOMAINS_MAX,
): ImportSource {
  const hash = createHash("sha256");
  const places: ImportPlace[] = [];
  let domainCount = 0;
  for (const { place, domains } of cutChunks(states, domainsMax, 0, PAGES)) {
    places.push(place);
    domainCount += domains.length;
    hash.update(JSON.stringify([place, domains]));
  }
  const source = { storeId, digest: hash.digest("hex") };
  return {
    source,
    domainCount,
    chunkCount: places.length,
    *chunks(first, end) {
      let index = indexOfPage(places, first);
      for (const { place, domains } of cutChunks(states, domainsMax, first, end)) {
        yield { source, place, previous: places[index - 1] ?? null, domains };
        index++;
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

interface Cut {
  readonly place: ImportPlace;
  readonly domains: readonly ImportedDomain[];
}

function* cutChunks(
  states: readonly PartitionState[],
  domainsMax: number,
  first: number,
  end: number,
): Generator<Cut> {
  for (let page = first; page < end; page++) {
    const state = states[partitionOf(page << 16, states.length)] as PartitionState;
    yield* cutPage(state, domainsMax, page);
  }
}

function* cutPage(state: PartitionState, domainsMax: number, page: number): Generator<Cut> {
  let part = 0;
  let domains: ImportedDomain[] = [];
  let bytes = 0;
  state.settlePage(page);
  for (const entry of state.table.sortedPageEntries(page)) {
    if (state.table.status(entry) === STATUS_UNSEEN) continue;
    const domain = importedDomain(state, entry);
    const size = Buffer.byteLength(JSON.stringify(domain)) + 1;
    const isFull = domains.length === domainsMax || bytes + size > IMPORT_CHUNK_BYTES;
    if (isFull && domains.length > 0) {
      yield { place: { page, part }, domains };
      part++;
      domains = [];
      bytes = 0;
    }
    domains.push(domain);
    bytes += size;
  }
  if (domains.length > 0) yield { place: { page, part }, domains };
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
