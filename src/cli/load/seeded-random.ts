/**
 * A small seeded generator (sfc32, Chris Doty-Humphrey, public domain) for the load mixes.
 * Invariant: the same seed and stream give the same numbers on every machine; nothing here reads the
 * system's randomness. Never use it for keys or secrets.
 */

export class SeededRandom {
  #a = 0;
  #b = 0;
  #c = 0;
  #counter = 1;

  /** `stream` separates independent uses of one seed. */
  constructor(seed: number, stream: number) {
    this.reseed(seed, stream);
  }

  /** Starts again as if new; lets one object serve many short streams. */
  reseed(seed: number, stream: number): void {
    // Seeds may exceed 32 bits (up to 2^53): both halves matter.
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 0x1_0000_0000) >>> 0;
    this.#c = stream >>> 0;
    this.#counter = (Math.floor(stream / 0x1_0000_0000) + 1) >>> 0;
    for (let i = 0; i < 12; i++) this.uint32();
  }

  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (this.#c << 21) | (this.#c >>> 11);
    this.#c = (this.#c + sum) | 0;
    return sum >>> 0;
  }

  /** A whole number from 0 up to, not including, `bound` (at most 2^32). The bias is below bound / 2^32. */
  below(bound: number): number {
    return Math.floor((this.uint32() / 0x1_0000_0000) * bound);
  }

  /** A number from 0 up to, not including, 1. */
  unit(): number {
    return this.uint32() / 0x1_0000_0000;
  }
}
