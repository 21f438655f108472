/**
 * A CheckpointStore that lets no page through before the status changes of its entries are stored. A page may be ahead of
 * its manifest, and replay changes nothing in such a page again: a change that only memory had would then be lost for
 * good. So it is the pages that wait, not the manifest alone.
 */

import type {
  CheckpointPage,
  CheckpointStore,
  CheckpointWriter,
  ManifestSet,
} from "./checkpoint-store.ts";

/** `flushed` resolves when every change taken before the call is durable; it rejects rather than wait for ever. */
export interface ChangeBarrier {
  flushed(): Promise<void>;
}

export class ChangesFirstStore implements CheckpointStore {
  readonly #store: CheckpointStore;
  readonly #changes: ChangeBarrier;

  constructor(store: CheckpointStore, changes: ChangeBarrier) {
    this.#store = store;
    this.#changes = changes;
  }

  get wantsFull(): boolean {
    return this.#store.wantsFull;
  }

  readManifests(partitions: ReadonlySet<number> | null): Promise<ManifestSet | null> {
    return this.#store.readManifests(partitions);
  }

  readPages(partitions: ReadonlySet<number>): AsyncIterable<CheckpointPage> {
    return this.#store.readPages(partitions);
  }

  async begin(isFull: boolean): Promise<CheckpointWriter> {
    const writer = await this.#store.begin(isFull);
    return {
      putPages: async (pages) => {
        await this.#changes.flushed();
        await writer.putPages(pages);
      },
      // A manifest covers entries that dirtied no page as well.
      commit: async (set) => {
        await this.#changes.flushed();
        return writer.commit(set);
      },
      abandon: () => writer.abandon(),
    };
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}
