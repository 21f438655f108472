/**
 * CheckpointStore over the Disk port, for the embedded node: checkpoints/<generation>-{full,delta}.ckpt, each written
 * under another name, synced, renamed, and its directory synced. A delta names the file that it builds on; the newest
 * file and what it builds on, down to a full one, is the checkpoint.
 * Two generations: when the newest file is damaged, the one before it counts, and the log is replayed from its older
 * watermark (or refused by the log, when that is trimmed); the damaged one is set aside and counts no more. Damage anywhere else is refused, never skipped.
 */

import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";
import type { Disk } from "../runtime/disk.ts";
import type { Logger } from "../runtime/logger.ts";
import { CHECKPOINT_HEADER_BYTES, decodeHeader } from "./checkpoint-codec.ts";
import { CheckpointFileWriter, damagedCheckpoint, readCheckpointFile } from "./checkpoint-file.ts";
import type {
  CheckpointPage,
  CheckpointStore,
  CheckpointWriter,
  ManifestSet,
} from "./checkpoint-store.ts";

const DIRECTORY = "checkpoints";
const TEMPORARY = `${DIRECTORY}/next.tmp`;
const FILE_NAME = /^(\d{16})-(full|delta)\.ckpt(\.damaged)?$/;
const DAMAGED_SUFFIX = ".damaged";
const DELTAS_MAX = 16;

export interface FileCheckpointStoreOptions {
  /** From `openStoreIdentity`: files of another data directory are refused. */
  readonly storeId: number;
  /** Hears of damage that was passed over. */
  readonly logger?: Logger;
}

interface ChainFile {
  readonly generation: number;
  readonly isFull: boolean;
  readonly path: string;
  readonly sizeBytes: number;
}

interface Chain {
  /** Oldest first; the first one is full. */
  readonly files: readonly ChainFile[];
  readonly lastCrc: number;
}

export class FileCheckpointStore implements CheckpointStore {
  readonly #disk: Disk;
  readonly #storeId: number;
  readonly #logger: Logger | null;
  /** Ascending by generation; without those that were found damaged. */
  #files: ChainFile[];
  /** Found damaged in this life and passed over; set aside before the next checkpoint is written. */
  #damaged: ChainFile[] = [];
  /** Also counts those that failed or are set aside: no two files may share one. */
  #lastGeneration: number;
  /** Undefined until the files were looked into. */
  #chain: Chain | null | undefined = undefined;
  #set: ManifestSet | null = null;
  #hasFallenBack = false;
  #writer: CheckpointFileWriter | null = null;

  private constructor(
    disk: Disk,
    options: FileCheckpointStoreOptions,
    files: ChainFile[],
    lastGeneration: number,
  ) {
    this.#disk = disk;
    this.#storeId = options.storeId;
    this.#logger = options.logger ?? null;
    this.#files = files;
    this.#lastGeneration = lastGeneration;
  }

  /** Finds the files and reads none. Errors: CatchallError `log_failed` of the disk. */
  static async open(disk: Disk, options: FileCheckpointStoreOptions): Promise<FileCheckpointStore> {
    await disk.makeDirectory(DIRECTORY);
    await disk.syncDirectory(".");
    await disk.remove(TEMPORARY);
    const files: ChainFile[] = [];
    let lastGeneration = 0;
    for (const name of await disk.list(DIRECTORY)) {
      const match = FILE_NAME.exec(name);
      if (match === null) continue;
      const generation = Number(match[1]);
      lastGeneration = Math.max(lastGeneration, generation);
      if (match[3] !== undefined) continue;
      const path = `${DIRECTORY}/${name}`;
      const sizeBytes = await disk.size(path);
      files.push({ generation, isFull: match[2] === "full", path, sizeBytes });
    }
    files.sort((a, b) => a.generation - b.generation);
    return new FileCheckpointStore(disk, options, files, lastGeneration);
  }

  get wantsFull(): boolean {
    const files = this.#chain?.files ?? [];
    const deltaBytes = files.slice(1).reduce((sum, file) => sum + file.sizeBytes, 0);
    return (
      this.#mustBeFull || files.length > DELTAS_MAX + 1 || deltaBytes > (files[0]?.sizeBytes ?? 0)
    );
  }

  get #mustBeFull(): boolean {
    return this.#chain === null || this.#chain === undefined || this.#hasFallenBack;
  }

  /**
   * The newest file is read to its end here; a fall-back reads the one before as well. One file holds every partition,
   * so that the set is always of all.
   */
  async readManifests(_partitions: ReadonlySet<number> | null = null): Promise<ManifestSet | null> {
    if (this.#chain !== undefined) return this.#set;
    const newest = this.#files.at(-1);
    if (newest === undefined) {
      this.#chain = null;
      return null;
    }
    try {
      await this.#adopt(newest);
    } catch (error) {
      const isDamaged = error instanceof CatchallError && error.code === "checkpoint_damaged";
      const before = this.#files.at(-2);
      if (!isDamaged || before === undefined) throw error;
      await this.#adopt(before);
      this.#hasFallenBack = true;
      this.#damaged.push(newest);
      this.#files = this.#files.filter((file) => file !== newest);
      const usedFile = before.path;
      this.#logger?.error(
        { err: error, usedFile },
        "Checkpoint is damaged; the one before is used",
      );
    }
    return this.#set;
  }

  /**
   * Renames what was found damaged, so that it no longer counts as one of the two generations, and stays for whoever
   * wants to look at it. Not on reading, which changes nothing: `verify` and `inspect` read a running node's files.
   */
  async #setAsideDamaged(): Promise<void> {
    for (let file = this.#damaged[0]; file !== undefined; file = this.#damaged[0]) {
      const path = `${file.path}${DAMAGED_SUFFIX}`;
      await this.#disk.rename(file.path, path);
      await this.#disk.syncDirectory(DIRECTORY);
      this.#damaged.shift();
      this.#logger?.warn({ path }, "Damaged checkpoint was set aside; it may be deleted");
    }
  }

  /** Each page once, in its newest version of the chain. Whoever reads all of it has checked all of it. */
  async *readPages(partitions: ReadonlySet<number>): AsyncIterable<CheckpointPage> {
    await this.readManifests();
    const seen = new Set<string>();
    const files = this.#chain?.files ?? [];
    let expectedCrc = this.#chain?.lastCrc ?? 0;
    for (const file of files.toReversed()) {
      // No file comes after the full one, and most chains that are large have only that one.
      const isOldest = file === files[0];
      const pages = readCheckpointFile(this.#disk, file.path, this.#storeId);
      try {
        let step = await pages.next();
        for (; step.done !== true; step = await pages.next()) {
          const page = step.value;
          if (!partitions.has(page.partition)) continue;
          if (!isOldest || seen.size > 0) {
            const key = `${page.partition}/${page.kind}/${page.id}`;
            if (seen.has(key)) continue;
            if (!isOldest) seen.add(key);
          }
          yield page;
        }
        const { lastCrc, header } = step.value;
        if (lastCrc !== expectedCrc) {
          throw damagedCheckpoint(file.path, 0, "it is not the file that the next one builds on");
        }
        expectedCrc = header.previousCrc;
      } finally {
        // Does nothing once the file is read to its end; closes it when the caller stopped early.
        await pages.return(undefined as never);
      }
    }
  }

  /** A page is put once per checkpoint. Only a full one may follow when there is none, or after a fall-back. */
  async begin(isFull: boolean): Promise<CheckpointWriter> {
    assert(this.#writer === null, "one checkpoint at a time");
    await this.readManifests();
    assert(isFull || !this.#mustBeFull, "a delta needs a whole checkpoint to build on");
    await this.#setAsideDamaged();
    this.#lastGeneration += 1;
    const generation = this.#lastGeneration;
    const base = isFull ? null : (this.#chain as Chain);
    const previousGeneration = base?.files.at(-1)?.generation ?? 0;
    const previousCrc = base?.lastCrc ?? 0;
    const header = { storeId: this.#storeId, generation, previousGeneration, previousCrc };
    const file = await this.#disk.create(TEMPORARY, 0);
    this.#writer = new CheckpointFileWriter(file, header);
    return this.#writerOf(this.#writer, generation, base);
  }

  async close(): Promise<void> {
    const writer = this.#writer;
    this.#writer = null;
    await writer?.close();
  }

  #writerOf(
    writer: CheckpointFileWriter,
    generation: number,
    base: Chain | null,
  ): CheckpointWriter {
    let isEnded = false;
    const kind = base === null ? "full" : "delta";
    const path = `${DIRECTORY}/${String(generation).padStart(16, "0")}-${kind}.ckpt`;
    return {
      putPages: (pages) => writer.put(pages),
      commit: async (set) => {
        assert(!isEnded, "a checkpoint ends once");
        const { sizeBytes, lastCrc } = await writer.finish(set);
        const file: ChainFile = { generation, isFull: base === null, path, sizeBytes };
        await this.#disk.rename(TEMPORARY, path);
        await this.#disk.syncDirectory(DIRECTORY);
        isEnded = true;
        this.#writer = null;
        this.#files.push(file);
        this.#chain = { files: [...(base?.files ?? []), file], lastCrc };
        this.#set = set;
        this.#hasFallenBack = false;
        await this.#removeOld();
        return sizeBytes;
      },
      abandon: async () => {
        if (isEnded) return;
        isEnded = true;
        this.#writer = null;
        await writer.close().catch(() => undefined);
        await this.#disk.remove(TEMPORARY);
      },
    };
  }

  /** After a full checkpoint the chain before it stays; after the next one it goes. */
  async #removeOld(): Promise<void> {
    const fulls = this.#files.filter((file) => file.isFull);
    const isJustFull = this.#files.at(-1)?.isFull === true;
    const oldest = (isJustFull ? fulls.at(-2) : fulls.at(-1)) ?? this.#files[0];
    if (oldest === undefined) return;
    const old = this.#files.filter((file) => file.generation < oldest.generation);
    // Newest first: what a crash leaves of an old chain still begins with a full file.
    for (const file of old.toReversed()) await this.#disk.remove(file.path);
    this.#files = this.#files.filter((file) => file.generation >= oldest.generation);
  }

  /** Makes `newest` and what it builds on the checkpoint, or throws `checkpoint_damaged`. */
  async #adopt(newest: ChainFile): Promise<void> {
    const end = await readCheckpointFile(this.#disk, newest.path, this.#storeId, true).next();
    assert(end.done === true, "pages were to be skipped");
    const { header, set, lastCrc } = end.value;
    const files: ChainFile[] = [newest];
    let { generation, previousGeneration } = header;
    if (generation !== newest.generation) {
      throw damagedCheckpoint(newest.path, 0, `it is of generation ${generation}`);
    }
    while (previousGeneration !== 0) {
      const file = this.#files.find((candidate) => candidate.generation === previousGeneration);
      const child = files[0] as ChainFile;
      if (file === undefined || previousGeneration >= child.generation) {
        throw damagedCheckpoint(child.path, 0, `generation ${previousGeneration} is missing`);
      }
      files.unshift(file);
      ({ generation, previousGeneration } = await this.#headerOf(file));
    }
    this.#chain = { files, lastCrc };
    this.#set = set;
  }

  async #headerOf(file: ChainFile): Promise<{ generation: number; previousGeneration: number }> {
    const open = await this.#disk.open(file.path);
    const bytes = await open.read(0, CHECKPOINT_HEADER_BYTES).finally(() => open.close());
    const header = decodeHeader(bytes);
    if (typeof header === "string") throw damagedCheckpoint(file.path, 0, header);
    if (header.generation !== file.generation) {
      throw damagedCheckpoint(file.path, 0, `it is of generation ${header.generation}`);
    }
    return header;
  }
}
