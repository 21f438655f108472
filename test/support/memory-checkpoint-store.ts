/**
 * A CheckpointStore in memory: pages are put if newer at once, the manifest at commit, so that an abandoned checkpoint
 * leaves pages that are newer than the manifest (as MongoDB would).
 */

import type {
  CheckpointPage,
  CheckpointStore,
  CheckpointWriter,
  ManifestSet,
} from "../../src/checkpoint/checkpoint-store.ts";
import { isAfter } from "../../src/partition/partition-state.ts";

export class MemoryCheckpointStore implements CheckpointStore {
  readonly pages: Map<string, CheckpointPage> = new Map();
  manifest: ManifestSet | null = null;
  /** Fails the next commits, after the pages were put. */
  failures = 0;

  get wantsFull(): boolean {
    return this.manifest === null;
  }

  async readManifests(): Promise<ManifestSet | null> {
    return this.manifest;
  }

  async *readPages(partitions: ReadonlySet<number>): AsyncIterable<CheckpointPage> {
    for (const page of this.pages.values()) if (partitions.has(page.partition)) yield page;
  }

  async begin(): Promise<CheckpointWriter> {
    return {
      putPages: async (pages) => {
        for (const page of pages) {
          const key = `${page.partition}/${page.kind}/${page.id}`;
          const old = this.pages.get(key);
          if (old !== undefined && isAfter(old.position, page.position)) continue;
          this.pages.set(key, { ...page, bytes: page.bytes.slice() });
        }
      },
      commit: async (set) => {
        if (this.failures > 0) {
          this.failures--;
          throw new Error("commit failed");
        }
        this.manifest = set;
        return 0;
      },
      abandon: async () => undefined,
    };
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}
