/**
 * Which frames of one sender were handled. A frame with an effect is handled once, even when the network delivers it
 * twice: a repeat that comes after the answer could otherwise apply what the first was refused.
 * Invariant: `take` is true at most once for a number. Numbers too old to be known are never taken.
 */

/** Numbers back from the highest that are told apart. */
export const FRAME_WINDOW = 4096;

export class FrameWindow {
  #highest = 0;
  readonly #bits: Uint8Array = new Uint8Array(FRAME_WINDOW);

  /** True when this number was not taken before; it is now. */
  take(number: number): boolean {
    if (number <= this.#highest - FRAME_WINDOW) return false;
    if (number > this.#highest) {
      const first = Math.max(this.#highest + 1, number - FRAME_WINDOW + 1);
      for (let skipped = first; skipped < number; skipped++) this.#bits[skipped % FRAME_WINDOW] = 0;
      this.#highest = number;
    } else if (this.#bits[number % FRAME_WINDOW] === 1) {
      return false;
    }
    this.#bits[number % FRAME_WINDOW] = 1;
    return true;
  }
}
