/**
 * Random numbers of a simulation (sfc32), one stream per name: a draw added in one place does not reshuffle the others.
 * Invariant: the same seed and name give the same numbers, on every machine.
 */

import type { Random } from "../runtime/random.ts";

export class SimRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, name: string) {
    this.#a = hashText(name, seed >>> 0);
    this.#b = hashText(name, (seed / 0x1_0000_0000) >>> 0) ^ 0x9e3779b9;
    this.#c = seed | 0;
    for (let i = 0; i < 12; i++) this.uint32();
  }

  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }

  /** In [0, 1). */
  unit(): number {
    return this.uint32() / 0x1_0000_0000;
  }

  /** Whole, in [0, end). */
  below(end: number): number {
    return Math.floor(this.unit() * end);
  }

  between(low: number, high: number): number {
    return low + this.unit() * (high - low);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.unit() < probability;
  }

  /** Exponentially distributed: the time to the next of events that come on average each `mean`. */
  exponential(mean: number): number {
    return -Math.log(1 - this.unit()) * mean;
  }

  /** `items` must not be empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

function hashText(text: string, seed: number): number {
  let hash = (0x811c9dc5 ^ seed) | 0;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) | 0;
}
