/**
 * What a script of checkpoints may find in a store that was away, or stored half of what it was sent. Of pages and
 * manifests in doubt each world may show something else; each must show something that was put, never anything older than
 * what was confirmed to it, and every page of a manifest that is there.
 * Invariant: what is in doubt follows from the operations alone, so that both worlds leave out the same.
 */
import type {
  CheckpointPage,
  ManifestSet,
  PartitionManifest,
  Position,
} from "../../src/checkpoint/checkpoint-store.ts";

/** The highest position of a page that was put and may be there or not, and who put it; null: several. */
interface Doubt {
  readonly position: Position;
  readonly life: number | null;
}

interface Attempt {
  readonly manifest: PartitionManifest;
  /** Of the partition. */
  readonly pages: readonly CheckpointPage[];
}

/** The store shows what it can't have. */
export class ImpossibleContent extends Error {}

export class CheckpointDoubts {
  /** A fault has befallen the script: from then on nobody knows which pages of keys were tidied away. */
  hasFault = false;
  readonly #pages: Map<string, Doubt> = new Map();
  /** The highest watermark that may be stored or not, by partition. */
  readonly #manifests: Map<number, Position> = new Map();
  /** Everything that was put, by page. */
  readonly #versions: Map<string, Set<string>> = new Map();
  readonly #attempts: Map<number, Attempt[]> = new Map();
  /** Confirmed to this world: at least this is there. */
  readonly #pageFloors: Map<string, Position> = new Map();
  readonly #manifestFloors: Map<number, Position> = new Map();

  put(page: CheckpointPage, life: number): void {
    const key = keyOf(page);
    const before = this.#pages.get(key);
    const isHigher = before === undefined || isBefore(before.position, page.position);
    this.#pages.set(key, {
      position: isHigher ? page.position : before.position,
      life: before === undefined || before.life === life ? life : null,
    });
    const versions = this.#versions.get(key) ?? new Set();
    this.#versions.set(key, versions.add(versionOf(page)));
  }

  /** Its manifests may be there. */
  attempted(set: ManifestSet, pages: readonly CheckpointPage[]): void {
    for (const manifest of set.manifests) {
      const { partition, watermark } = manifest;
      const own = pages.filter((page) => page.partition === partition);
      const attempts = this.#attempts.get(partition) ?? [];
      this.#attempts.set(partition, [...attempts, { manifest, pages: own }]);
      const before = this.#manifests.get(partition);
      if (before === undefined || isBefore(before, watermark)) {
        this.#manifests.set(partition, watermark);
      }
    }
  }

  /** In both worlds. */
  settled(set: ManifestSet, pages: readonly CheckpointPage[], life: number): void {
    for (const { partition, watermark } of set.manifests) {
      const before = this.#manifests.get(partition);
      if (before !== undefined && !isBefore(watermark, before)) this.#manifests.delete(partition);
    }
    // A store that tidies up may know of a page of keys that is in doubt, or not: it stays in doubt.
    for (const page of pages) {
      const doubt = this.#pages.get(keyOf(page));
      if (doubt === undefined || (page.kind === "keys" && doubt.life !== life)) continue;
      const isOwn = doubt.life === life && !isBefore(page.position, doubt.position);
      if (isOwn || isBefore(doubt.position, page.position)) this.#pages.delete(keyOf(page));
    }
  }

  /** In this world, whatever the other said. */
  confirmed(set: ManifestSet, pages: readonly CheckpointPage[]): void {
    for (const page of pages) this.#raisePage(page);
    for (const { partition, watermark } of set.manifests) {
      raise(this.#manifestFloors, partition, watermark);
    }
  }

  /** What both worlds must say of manifests that were read. Errors: ImpossibleContent. */
  manifestsSeen(set: ManifestSet): string {
    const manifests = [...set.manifests].sort((a, b) => a.partition - b.partition);
    for (const manifest of manifests) this.#checkManifest(manifest);
    const known = manifests.filter(({ partition }) => !this.#manifests.has(partition));
    const { formatVersion, partitions, hashName, canonicalisationVersion } = set;
    const timeMs = this.#manifests.size > 0 ? null : set.timeMs;
    const identity = [formatVersion, partitions, hashName, canonicalisationVersion];
    return JSON.stringify([...identity, timeMs, known]);
  }

  /** As `manifestsSeen`, of all pages of these partitions. */
  pagesSeen(partitions: readonly number[], pages: readonly CheckpointPage[]): string {
    const seen = new Set(pages.map(keyOf));
    for (const page of pages) this.#checkPage(page);
    for (const [key, floor] of this.#pageFloors) {
      const isRead = partitions.some((partition) => key.startsWith(`${partition}/`));
      if (isRead && !seen.has(key))
        throw new ImpossibleContent(`${key} is gone, confirmed ${text(floor)}`);
    }
    const known = pages.filter((page) => {
      return !this.#pages.has(keyOf(page)) && !(this.hasFault && page.kind === "keys");
    });
    return known
      .map((page) => `${keyOf(page)}@${versionOf(page)}`)
      .sort()
      .join();
  }

  #checkManifest(seen: PartitionManifest): void {
    const { partition, watermark } = seen;
    const floor = this.#manifestFloors.get(partition);
    const wanted = JSON.stringify(seen);
    const found = (this.#attempts.get(partition) ?? []).filter(
      ({ manifest }) => JSON.stringify(manifest) === wanted,
    );
    if (found.length === 0 || (floor !== undefined && isBefore(watermark, floor))) {
      throw new ImpossibleContent(`a manifest that can't be there: ${wanted}`);
    }
    const [only] = found;
    if (only === undefined || found.length > 1) return;
    for (const page of only.pages) this.#raisePage(page);
  }

  #checkPage(page: CheckpointPage): void {
    const floor = this.#pageFloors.get(keyOf(page));
    const isKnown = this.#versions.get(keyOf(page))?.has(versionOf(page)) === true;
    if (isKnown && (floor === undefined || !isBefore(page.position, floor))) return;
    throw new ImpossibleContent(`a page that can't be there: ${keyOf(page)}@${versionOf(page)}`);
  }

  /** Pages of keys go, when a manifest does not name them. */
  #raisePage(page: CheckpointPage): void {
    if (page.kind !== "keys") raise(this.#pageFloors, keyOf(page), page.position);
  }
}

function raise<K>(floors: Map<K, Position>, key: K, position: Position): void {
  const before = floors.get(key);
  if (before === undefined || isBefore(before, position)) floors.set(key, position);
}

function keyOf({ partition, kind, id }: CheckpointPage): string {
  return `${partition}/${kind}/${id}`;
}

function versionOf({ position, bytes }: CheckpointPage): string {
  return `${text(position)}:${bytes.length}:${bytes[0]}`;
}

function text({ epoch, incarnation, sequence }: Position): string {
  return `${epoch}.${incarnation}.${sequence}`;
}

function isBefore(a: Position, b: Position): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.sequence < b.sequence);
}
