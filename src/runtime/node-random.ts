/**
 * Random numbers of the system (CSPRNG): names of stores and incarnations are made of them. Drawn in blocks, since one
 * call into the system costs more than the number.
 */
import { randomFillSync } from "node:crypto";
import type { Random } from "./random.ts";

const BLOCK_WORDS = 256;

export class NodeRandom implements Random {
  readonly #block: Uint32Array = new Uint32Array(BLOCK_WORDS);
  #next = BLOCK_WORDS;

  uint32(): number {
    if (this.#next === BLOCK_WORDS) {
      randomFillSync(this.#block);
      this.#next = 0;
    }
    const value = this.#block[this.#next] as number;
    // A number given out once is not kept: memory dumps show none of the past.
    this.#block[this.#next] = 0;
    this.#next++;
    return value;
  }
}
