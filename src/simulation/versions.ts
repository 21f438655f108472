/**
 * A rolling upgrade by one format version: machines that run the next version, and what they stored. Only one format
 * exists, so the next one is this one with its number raised, and only for who does not know it: the stores keep what
 * is written as it is, and show an older reader the number that a newer writer would have written.
 * Invariant: a newer machine reads everything; an older one reads what older ones wrote last.
 */

import type { SimRandom } from "./sim-random.ts";

/** What has a format version of its own in its bytes. */
export const FORMATS = ["table", "lease", "page"] as const;
export type Format = (typeof FORMATS)[number];

const VERSION = '"formatVersion":1';
const NEXT_VERSION = '"formatVersion":2';

export class SimVersions {
  /** Formats that the next version raises. */
  readonly #raised: ReadonlySet<Format>;
  readonly #newer: Set<number> = new Set();
  /** Bytes that a newer machine stored in a raised format. */
  readonly #unknown: WeakMap<Uint8Array, Format> = new WeakMap();
  #isDone = false;
  /** Values shown to machines that do not know their format. */
  shown = 0;

  constructor(random: SimRandom) {
    const some = FORMATS.filter(() => random.chance(0.5));
    this.#raised = new Set(some.length > 0 ? some : FORMATS);
  }

  isNewer(machine: number): boolean {
    return this.#isDone || this.#newer.has(machine);
  }

  /** The next process of the machine is of the other version. */
  exchange(machine: number): void {
    if (!this.#newer.delete(machine)) this.#newer.add(machine);
  }

  /** Every process that begins from now on, and every other one, is of the newer version. Answers whether any was before. */
  finish(): boolean {
    this.#isDone = true;
    return this.#newer.size > 0;
  }

  /** To be called with what is stored, the very bytes that are kept. */
  stored(machine: number, format: Format, bytes: Uint8Array): void {
    if (this.isNewer(machine) && this.#raised.has(format)) this.#unknown.set(bytes, format);
  }

  /** What the machine reads where these bytes are kept. */
  seenBy(machine: number, bytes: Uint8Array): Uint8Array {
    const format = this.isNewer(machine) ? undefined : this.#unknown.get(bytes);
    if (format === undefined) return bytes;
    this.shown++;
    if (format !== "page") {
      const text = Buffer.from(bytes).toString("utf8").replace(VERSION, NEXT_VERSION);
      return Buffer.from(text, "utf8");
    }
    const copy = bytes.slice();
    copy[0] = 2;
    return copy;
  }
}
