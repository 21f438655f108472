/**
 * Memory of request bodies, used again. Bodies of 1,000 lines at full speed are 30 to 60 MB/s outside V8's heap, on
 * account of which it collected the whole heap two or three times a second: 10 % of a node's time, and pauses of 20 to
 * 60 ms. Invariant: a block belongs to one body from `add` to `release`; nobody reads a body that was released.
 */

/** Blocks are powers of two from here on, so that a body finds one that another has left. */
const BLOCK_BYTES_MIN = 4096;
/** Larger bodies are rare; each has memory of its own, exactly as much as it needs. */
const BLOCK_BYTES_MAX = 1024 * 1024;
/** Free blocks beyond this are left to the collector. */
const FREE_BYTES_MAX: number = 16 * 1024 * 1024;

const NOTHING = new Uint8Array(0);

export class BodyMemory {
  freeBytes: number = 0;
  readonly #free: Map<number, Uint8Array[]> = new Map();

  /** At least `bytes` long; what is in it means nothing. */
  take(bytes: number): Uint8Array {
    if (bytes > BLOCK_BYTES_MAX) return new Uint8Array(bytes);
    const size = Math.max(BLOCK_BYTES_MIN, 2 ** Math.ceil(Math.log2(bytes)));
    const block = this.#free.get(size)?.pop();
    if (block === undefined) return new Uint8Array(size);
    this.freeBytes -= size;
    return block;
  }

  giveBack(block: Uint8Array): void {
    const size = block.length;
    if (size === 0 || size > BLOCK_BYTES_MAX || this.freeBytes + size > FREE_BYTES_MAX) return;
    const free = this.#free.get(size);
    if (free === undefined) this.#free.set(size, [block]);
    else free.push(block);
    this.freeBytes += size;
  }
}

/** The bytes of one body, as they arrive. */
export class ReceivedBody {
  readonly #memory: BodyMemory;
  readonly #announcedBytes: number;
  #block: Uint8Array = NOTHING;
  #length = 0;

  /** `announcedBytes`: its Content-Length; 0 when there is none. */
  constructor(memory: BodyMemory, announcedBytes: number) {
    this.#memory = memory;
    this.#announcedBytes = announcedBytes;
  }

  /** All that was added; valid until `release`. */
  get bytes(): Uint8Array {
    return this.#block.subarray(0, this.#length);
  }

  /** Copies `chunk`. */
  add(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (length > this.#block.length) this.#grow(length);
    this.#block.set(chunk, this.#length);
    this.#length = length;
  }

  /** Drops what was added. A second time does nothing. */
  release(): void {
    this.#memory.giveBack(this.#block);
    this.#block = NOTHING;
    this.#length = 0;
  }

  #grow(bytes: number): void {
    const before = this.#block;
    this.#block = this.#memory.take(Math.max(bytes, this.#announcedBytes, 2 * before.length));
    this.#block.set(before.subarray(0, this.#length));
    this.#memory.giveBack(before);
  }
}
