/**
 * Names of the domains that a load run touches: a pure function of seed and index, so that ten million of them need
 * no memory and a verification can name them again.
 * Shape: 14 letters A-Z a-z, a dot, one of five top-level domains, with the letter bias of `byte % 52` and `byte % 5`
 * (the same as the challenge's generator). Different seeds practically never share a name (26^14).
 */
import { SeededRandom } from "./seeded-random.ts";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOP_LEVEL_DOMAINS = ["net", "com", "org", "io", "gov"] as const;
const LETTER_COUNT = 14;
const NAME_STREAM_BASE = 0x4000_0000_0000;

export class DomainNames {
  readonly #seed: number;
  readonly #random: SeededRandom;
  readonly #codes: number[] = new Array<number>(LETTER_COUNT).fill(0);

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = new SeededRandom(seed, NAME_STREAM_BASE);
  }

  /** The mixed-case name of domain `index`; the service must fold it to lower case. */
  nameOf(index: number): string {
    this.#random.reseed(this.#seed, NAME_STREAM_BASE + index);
    let bytes = 0;
    for (let i = 0; i < LETTER_COUNT; i++) {
      if ((i & 3) === 0) bytes = this.#random.uint32();
      this.#codes[i] = LETTERS.charCodeAt((bytes & 0xff) % LETTERS.length);
      bytes >>>= 8;
    }
    // Fourteen letters leave two unused bytes of the fourth draw.
    const tld = TOP_LEVEL_DOMAINS[(bytes & 0xff) % TOP_LEVEL_DOMAINS.length] as string;
    return `${String.fromCharCode(...this.#codes)}.${tld}`;
  }
}
