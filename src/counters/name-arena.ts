/**
 * The names of a table, one after another in chunks of bytes: a length byte, then the name.
 * Invariant: a name never spans two chunks, so an offset and one chunk suffice to read it.
 * Never moves or frees a name: offsets are kept in the entries for ever.
 */
import { hash32 } from "../model/hash32.ts";
import { halfSipHash } from "./keyed-hash.ts";

/** Longest canonical domain, bytes; the length byte could hold two more. */
export const NAME_LENGTH_MAX = 253;

const CHUNK_BITS = 16;
const CHUNK_SIZE_BYTES = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK_SIZE_BYTES - 1;
/** Offsets are 32 bits: 4 GiB of names, 200 million of 20 bytes. */
const CHUNK_COUNT_MAX = 2 ** 32 / CHUNK_SIZE_BYTES;

export class NameArena {
  readonly #chunks: Uint8Array[] = [];
  #tail: Uint8Array = new Uint8Array(0);
  /** Next free byte in the last chunk. */
  #used = CHUNK_SIZE_BYTES;

  get bytes(): number {
    return this.#chunks.length * CHUNK_SIZE_BYTES;
  }

  /** Copies a name of 1 to {@link NAME_LENGTH_MAX} bytes; returns its offset, or -1 when the arena is full. */
  add(bytes: Uint8Array, start: number, length: number): number {
    if (this.#used + 1 + length > CHUNK_SIZE_BYTES) {
      if (this.#chunks.length === CHUNK_COUNT_MAX) return -1;
      this.#tail = new Uint8Array(CHUNK_SIZE_BYTES);
      this.#chunks.push(this.#tail);
      this.#used = 0;
    }
    const tail = this.#tail;
    const at = this.#used;
    tail[at] = length;
    for (let i = 0; i < length; i++) tail[at + 1 + i] = bytes[start + i] as number;
    this.#used = at + 1 + length;
    return (this.#chunks.length - 1) * CHUNK_SIZE_BYTES + at;
  }

  equals(offset: number, bytes: Uint8Array, start: number, length: number): boolean {
    const chunk = this.#chunkAt(offset);
    const at = offset & CHUNK_MASK;
    if (chunk[at] !== length) return false;
    for (let i = 0; i < length; i++) {
      if (chunk[at + 1 + i] !== bytes[start + i]) return false;
    }
    return true;
  }

  /** Copies the name to `into[at…]`; returns its length, bytes. */
  copy(offset: number, into: Uint8Array, at: number): number {
    const chunk = this.#chunkAt(offset);
    const from = (offset & CHUNK_MASK) + 1;
    const length = chunk[from - 1] as number;
    for (let i = 0; i < length; i++) into[at + i] = chunk[from + i] as number;
    return length;
  }

  lengthAt(offset: number): number {
    return this.#chunkAt(offset)[offset & CHUNK_MASK] as number;
  }

  /** The name as text; names are ASCII, so bytes are characters. */
  text(offset: number): string {
    const chunk = this.#chunkAt(offset);
    const from = (offset & CHUNK_MASK) + 1;
    const length = chunk[from - 1] as number;
    return Buffer.from(chunk.buffer, from, length).toString("latin1");
  }

  hash32(offset: number): number {
    const from = (offset & CHUNK_MASK) + 1;
    const chunk = this.#chunkAt(offset);
    return hash32(chunk, from, from + (chunk[from - 1] as number));
  }

  keyedHash(offset: number, key0: number, key1: number): number {
    const from = (offset & CHUNK_MASK) + 1;
    const chunk = this.#chunkAt(offset);
    return halfSipHash(chunk, from, chunk[from - 1] as number, key0, key1, 1, 3);
  }

  #chunkAt(offset: number): Uint8Array {
    return this.#chunks[offset >>> CHUNK_BITS] as Uint8Array;
  }
}
