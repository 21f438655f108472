/**
 * I14: what a page of a checkpoint says is what the replay of the history up to its position says, row by row.
 * A second replay, behind the first: it is brought forward to one page after the other, in the order of their positions,
 * once their manifest is there. Pages of a checkpoint that is long past are older than it, and only counted.
 * Invariant: never goes beyond the oldest page that it has not compared.
 */

import type {
  CheckpointPage,
  PageKind,
  PartitionManifest,
} from "../../checkpoint/checkpoint-store.ts";
import type { HashKey } from "../../counters/keyed-hash.ts";
import { PageReader } from "../../counters/page-codec.ts";
import { PAGE_ROW_NUMBERS, ROW_NAME_LENGTH, ROW_NAME_START } from "../../counters/page-rows.ts";
import { CatchallError } from "../../model/errors.ts";
import { decodeMetaImage } from "../../partition/meta-image.ts";
import { isAfter, type PartitionState } from "../../partition/partition-state.ts";
import { readSections, type SectionView } from "../../partition/section-codec.ts";
import {
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_SEAL,
  type EntryHeader,
  readEntryHeader,
} from "../../wal/entry-codec.ts";
import type { SimWorld } from "../sim-world.ts";
import type { StoreHistory } from "../store-history.ts";
import { replaySection } from "./replay-checker.ts";

/** Kept until their manifest comes; a checkpoint that is broken off never has one. */
const WAITING_MAX = 256;
const HASH_KEY: HashKey = [1, 2];
const KEY_BYTES = 20;

type Lines = ReadonlyMap<string, string>;

interface Stored {
  readonly bytes: Uint8Array;
  readonly header: EntryHeader;
  readonly section: SectionView;
}

interface Followed {
  readonly state: PartitionState;
  /** In the log, not replayed here yet. */
  readonly ahead: Stored[];
  waiting: CheckpointPage[];
}

export class PageChecker implements StoreHistory {
  readonly #world: SimWorld;
  readonly #stateOf: (partition: number) => PartitionState;
  readonly #isFollowed: (partition: number) => boolean;
  readonly #followed: Map<number, Followed> = new Map();
  compared = 0;
  /** Not compared, since a page of a later position was before them. */
  skipped = 0;

  /** `stateOf`: a new one, as it is before the first entry. */
  constructor(
    world: SimWorld,
    stateOf: (partition: number) => PartitionState,
    isFollowed: (partition: number) => boolean,
  ) {
    this.#world = world;
    this.#stateOf = stateOf;
    this.#isFollowed = isFollowed;
  }

  entryStored(_incarnation: number, _sequence: number, bytes: Uint8Array): void {
    const header = readEntryHeader(bytes);
    if (header.kind === ENTRY_KIND_SEAL) return;
    for (const section of readSections(bytes, ENTRY_HEADER_BYTES, bytes.length)) {
      if (!this.#isFollowed(section.partition)) continue;
      this.#of(section.partition).ahead.push({ bytes, header, section });
    }
  }

  pagePut(page: CheckpointPage): void {
    if (!this.#isFollowed(page.partition)) return;
    const followed = this.#of(page.partition);
    followed.waiting.push(page);
    if (followed.waiting.length > WAITING_MAX) this.#compareWaiting(followed);
  }

  manifestPut({ partition }: PartitionManifest): void {
    const followed = this.#followed.get(partition);
    if (followed !== undefined) this.#compareWaiting(followed);
  }

  /** Compares what still waits for a manifest. */
  finish(): void {
    for (const followed of this.#followed.values()) this.#compareWaiting(followed);
  }

  #of(partition: number): Followed {
    let followed = this.#followed.get(partition);
    if (followed === undefined) {
      followed = { state: this.#stateOf(partition), ahead: [], waiting: [] };
      this.#followed.set(partition, followed);
    }
    return followed;
  }

  #compareWaiting(followed: Followed): void {
    const pages = followed.waiting;
    followed.waiting = [];
    pages.sort((a, b) => (isAfter(a.position, b.position) ? 1 : -1));
    for (const page of pages) {
      if (isAfter(followed.state.position, page.position)) {
        this.skipped++;
        continue;
      }
      forward(followed, page);
      this.compared++;
      this.#compare(followed.state, page);
    }
  }

  #compare(state: PartitionState, page: CheckpointPage): void {
    const { partition, kind, position } = page;
    const own = linesOfState(state, page);
    const stored = this.#read(page);
    for (const name of new Set([...own.keys(), ...stored.keys()])) {
      const [expected, found] = [own.get(name), stored.get(name)];
      // Producers that are gone for ever are forgotten at some time.
      if (expected === found || (found === undefined && name.startsWith("producer "))) continue;
      const { epoch, incarnation, sequence } = position;
      const text =
        `A page of ${kind} of partition ${partition} at ${sequence} of log ${incarnation}, epoch ` +
        `${epoch}, says ${found} of ${name}, the history up to there ${expected}`;
      this.#world.fail("I14", text);
      return;
    }
  }

  /** What cannot be read says nothing. */
  #read({ kind, id, bytes }: CheckpointPage): Lines {
    try {
      return linesOf(kind, id, bytes);
    } catch (error) {
      if (!(error instanceof CatchallError)) throw error;
      this.#world.fail("I14", error.message);
      return new Map();
    }
  }
}

/** Up to and including the position of the page. */
function forward({ state, ahead }: Followed, { position }: CheckpointPage): void {
  let done = 0;
  for (const { bytes, header, section } of ahead) {
    const { incarnation, sequence } = header;
    if (isAfter({ epoch: section.epoch, incarnation, sequence }, position)) break;
    replaySection(state, bytes, section, header);
    done++;
  }
  ahead.splice(0, done);
}

/** As `linesOf`, of the state itself: a codec that loses something would lose it here too. */
function linesOfState(state: PartitionState, { kind, id }: CheckpointPage): Lines {
  if (kind === "meta") return metaLines(state.encodeMeta());
  if (kind === "keys") return keyLines(state.window.encodeBucket(id));
  state.settlePage(id);
  const { table } = state;
  const lines = new Map<string, string>();
  for (const entry of table.pageEntries(id)) {
    const counts = [table.delivered(entry), table.bounced(entry)];
    const seen = [table.firstSeenMs(entry), table.lastSeenMs(entry)];
    const numbers = [...counts, ...seen, table.statusSinceMs(entry), table.status(entry)];
    if (numbers.some((number) => number !== 0)) lines.set(table.name(entry), numbers.join(" "));
  }
  return lines;
}

/** By name of a domain, of a key or of a field: all that a page says of it. */
function linesOf(kind: PageKind, id: number, bytes: Uint8Array): Lines {
  if (kind === "meta") return metaLines(bytes);
  return kind === "keys" ? keyLines(bytes) : counterLines(id, bytes);
}

function counterLines(id: number, bytes: Uint8Array): Lines {
  const reader = new PageReader(id, bytes);
  const rows = new Float64Array(reader.count * PAGE_ROW_NUMBERS);
  reader.readRows(rows, new Int32Array(reader.count), HASH_KEY);
  const lines = new Map<string, string>();
  for (let row = 0; row < rows.length; row += PAGE_ROW_NUMBERS) {
    const start = rows[row + ROW_NAME_START] as number;
    const end = start + (rows[row + ROW_NAME_LENGTH] as number);
    const name = Buffer.from(bytes.subarray(start, end)).toString("latin1");
    lines.set(name, rows.subarray(row + ROW_NAME_LENGTH + 1, row + PAGE_ROW_NUMBERS).join(" "));
  }
  return lines;
}

function keyLines(bytes: Uint8Array): Lines {
  const lines = new Map<string, string>();
  for (let at = 0; at < bytes.length; at += KEY_BYTES) {
    const key = Buffer.from(bytes.subarray(at, at + KEY_BYTES)).toString("hex");
    lines.set(`key ${key}`, "counted");
  }
  return lines;
}

function metaLines(bytes: Uint8Array): Lines {
  const { rule, ruleRevision, producers, overrides } = decodeMetaImage(bytes);
  const { deliveredThreshold, bouncedThreshold, maxBounceRatio } = rule;
  return new Map([
    ["rule", [ruleRevision, deliveredThreshold, bouncedThreshold, maxBounceRatio].join(" ")],
    ...producers.map(([producer, sequence]) => [`producer ${producer}`, `${sequence}`] as const),
    ...overrides.map(([domain, { status, reason, by, atMs }]) => {
      return [`override ${domain}`, [status, reason, by, atMs].join(" ")] as const;
    }),
  ]);
}
