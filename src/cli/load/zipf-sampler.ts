/**
 * Zipf-distributed ranks without tables, so that ten million domains cost nothing.
 * Method: rejection-inversion (W. Hörmann, G. Derflinger, 1996): about 1.1 draws a sample.
 * Invariant: sample() is 0 .. count - 1 and P(rank k) is proportional to 1 / (k + 1)^exponent.
 */
import type { SeededRandom } from "./seeded-random.ts";

export class ZipfSampler {
  readonly #count: number;
  readonly #exponent: number;
  readonly #integralAtFirst: number;
  readonly #integralAtLast: number;
  readonly #shortcut: number;

  /** `exponent` > 0; 1 is allowed. */
  constructor(count: number, exponent: number) {
    this.#count = count;
    this.#exponent = exponent;
    this.#integralAtFirst = this.#integral(1.5) - 1;
    this.#integralAtLast = this.#integral(count + 0.5);
    this.#shortcut = 2 - this.#integralInverse(this.#integral(2.5) - this.#density(2));
  }

  sample(random: SeededRandom): number {
    for (;;) {
      const u =
        this.#integralAtLast + random.unit() * (this.#integralAtFirst - this.#integralAtLast);
      const x = this.#integralInverse(u);
      const rank = Math.min(this.#count, Math.max(1, Math.round(x)));
      if (rank - x <= this.#shortcut || u >= this.#integral(rank + 0.5) - this.#density(rank)) {
        return rank - 1;
      }
    }
  }

  #density(x: number): number {
    return Math.exp(-this.#exponent * Math.log(x));
  }

  #integral(x: number): number {
    const logX = Math.log(x);
    const t = (1 - this.#exponent) * logX;
    return logX * (Math.abs(t) > 1e-8 ? Math.expm1(t) / t : 1 + t / 2);
  }

  #integralInverse(x: number): number {
    const t = Math.max(-1, x * (1 - this.#exponent));
    return Math.exp(x * (Math.abs(t) > 1e-8 ? Math.log1p(t) / t : 1 - t / 2));
  }
}
