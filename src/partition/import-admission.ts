/**
 * Decides what of a chunk of another store is appended: it is refused when the domain before it is missing, and what is
 * in already is left out. One chunk of a partition at a time, since only an applied one can be recognised.
 * Invariant: of one source every domain is in a partition's history at most once, and in order.
 */

import { CatchallError } from "../model/errors.ts";
import { type ImportChunk, importPlaceOf, isPlaceAfter } from "../model/import-chunk.ts";
import type { PartitionState } from "./partition-state.ts";
import { type Change, SECTION_IMPORT } from "./section-codec.ts";

/** Sources that a partition remembers, for ever. */
export const IMPORT_SOURCES_MAX = 1_000;
/** Chunks that wait for the one before; the sender of one source has one of a partition under way. */
const WAITING_MAX = 16;

export interface ImportActor {
  readonly state: PartitionState;
  refusal(): CatchallError | null;
  change(change: Change): Promise<void>;
}

export class ImportAdmission {
  readonly #actor: ImportActor;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(actor: ImportActor) {
    this.#actor = actor;
  }

  /**
   * Resolves once the chunk is durable and applied, to how many of its domains were added now.
   * Errors: `import_changed`, `import_gap`, `invalid_body` (not all of this partition), those of a change.
   */
  admit(chunk: ImportChunk, by: string): Promise<number> {
    if (this.#waiting >= WAITING_MAX) {
      return Promise.reject(new CatchallError("overloaded", "Too many imports are under way"));
    }
    this.#waiting++;
    const result = this.#tail
      .then(() => this.#admitNow(chunk, by))
      .finally(() => {
        this.#waiting--;
      });
    this.#tail = result.catch(() => undefined);
    return result;
  }

  async #admitNow(chunk: ImportChunk, by: string): Promise<number> {
    const refusal = this.#actor.refusal();
    if (refusal !== null) throw refusal;
    const domains = domainsToAdd(this.#actor.state, chunk);
    if (domains.length > 0) {
      await this.#actor.change({ kind: SECTION_IMPORT, chunk: { ...chunk, domains }, by });
    }
    return domains.length;
  }
}

/** What of a chunk is not in yet. Errors: as {@link ImportAdmission.admit}. */
function domainsToAdd(state: PartitionState, chunk: ImportChunk): ImportChunk["domains"] {
  const { source, previous, domains } = chunk;
  const { first, last } = state.table.pageIds();
  const [begin, end] = [domains[0], domains.at(-1)];
  if (begin === undefined || end === undefined) throw new CatchallError("invalid_body");
  if (importPlaceOf(begin.domain).page < first || importPlaceOf(end.domain).page > last) {
    throw new CatchallError("invalid_body", "A chunk must be of one partition of the target");
  }
  const mark = state.imports.get(source.storeId) ?? null;
  if (mark === null && state.imports.size >= IMPORT_SOURCES_MAX) {
    throw new CatchallError("conflict", `${IMPORT_SOURCES_MAX} directories are imported already`);
  }
  if (mark !== null && mark.digest !== source.digest) throw new CatchallError("import_changed");
  // The domain before may be of an earlier partition, wherever the target draws its lines.
  const isHere = previous !== null && previous.page >= first;
  if (isHere && isPlaceAfter(previous, mark)) throw new CatchallError("import_gap");
  return domains.filter(({ domain }) => isPlaceAfter(importPlaceOf(domain), mark));
}
