/**
 * Decides whether a chunk of another store is appended, once: it is refused when the one before it is missing, answered
 * as there already when it is in. One chunk of a partition at a time, since only an applied one can be recognised.
 * Invariant: of one source every chunk is in a partition's history at most once, and in order.
 */

import { CatchallError } from "../model/errors.ts";
import { type ImportChunk, importOrder } from "../model/import-chunk.ts";
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
   * Resolves once the chunk is durable and applied; to true when it was so before.
   * Errors: `import_changed`, `import_gap`, those of a change.
   */
  admit(chunk: ImportChunk, by: string): Promise<boolean> {
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

  async #admitNow(chunk: ImportChunk, by: string): Promise<boolean> {
    const refusal = this.#actor.refusal();
    if (refusal !== null) throw refusal;
    if (isThere(this.#actor.state, chunk)) return true;
    await this.#actor.change({ kind: SECTION_IMPORT, chunk, by });
    return false;
  }
}

/** True when the chunk is in; false when it is the next one. Errors: `import_changed`, `import_gap`. */
function isThere(state: PartitionState, chunk: ImportChunk): boolean {
  const { source, place, previous } = chunk;
  const mark = state.imports.get(source.storeId);
  if (mark === undefined && state.imports.size >= IMPORT_SOURCES_MAX) {
    throw new CatchallError("import_changed", `Already ${IMPORT_SOURCES_MAX} sources are imported`);
  }
  if (mark !== undefined && mark.digest !== source.digest)
    throw new CatchallError("import_changed");
  if (mark !== undefined && importOrder(place) <= importOrder(mark)) return true;
  // The chunk before may be of an earlier partition, wherever the target draws its lines.
  const isHere = previous !== null && previous.page >= state.table.pageIds().first;
  const expected = isHere ? importOrder(previous) : null;
  const last = mark === undefined ? null : importOrder(mark);
  if (expected !== last) throw new CatchallError("import_gap");
  return false;
}
