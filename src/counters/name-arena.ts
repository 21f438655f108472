/**
 * What of long names does not fit their records, one after another in chunks of bytes; the lengths are in the records.
 * Invariant: nothing spans two chunks, so an offset and one chunk suffice to read it.
 * Never moves or frees anything: offsets are kept in the entries for ever.
 */

/** Longest canonical domain, bytes. */
export const NAME_LENGTH_MAX = 253;

const CHUNK_BITS = 16;
const CHUNK_SIZE_BYTES: number = 1 << CHUNK_BITS;
const CHUNK_MASK: number = CHUNK_SIZE_BYTES - 1;
/** Offsets are 32 bits: 4 GiB. */
const CHUNK_COUNT_MAX: number = 2 ** 32 / CHUNK_SIZE_BYTES;

export class NameArena {
  readonly #chunks: Uint8Array[] = [];
  #tail: Uint8Array = new Uint8Array(0);
  /** Next free byte in the last chunk. */
  #used = CHUNK_SIZE_BYTES;

  get bytes(): number {
    return this.#chunks.length * CHUNK_SIZE_BYTES;
  }

  /** Copies the end of a name; returns its offset, or -1 when the arena is full. */
  add(bytes: Uint8Array, start: number, length: number): number {
    if (this.#used + length > CHUNK_SIZE_BYTES) {
      if (this.#chunks.length === CHUNK_COUNT_MAX) return -1;
      this.#tail = new Uint8Array(CHUNK_SIZE_BYTES);
      this.#chunks.push(this.#tail);
      this.#used = 0;
    }
    const tail = this.#tail;
    const at = this.#used;
    for (let i = 0; i < length; i++) tail[at + i] = bytes[start + i] as number;
    this.#used = at + length;
    return (this.#chunks.length - 1) * CHUNK_SIZE_BYTES + at;
  }

  equals(offset: number, bytes: Uint8Array, start: number, length: number): boolean {
    const chunk = this.#chunkAt(offset);
    const at = offset & CHUNK_MASK;
    for (let i = 0; i < length; i++) {
      if (chunk[at + i] !== bytes[start + i]) return false;
    }
    return true;
  }

  copy(offset: number, length: number, into: Uint8Array, at: number): void {
    const chunk = this.#chunkAt(offset);
    const from = offset & CHUNK_MASK;
    for (let i = 0; i < length; i++) into[at + i] = chunk[from + i] as number;
  }

  #chunkAt(offset: number): Uint8Array {
    return this.#chunks[offset >>> CHUNK_BITS] as Uint8Array;
  }
}
