/**
 * Requests of one checkpoint that are under way at once, so many and no more, in no order.
 * Invariant: the first failure is kept: from then on every call rejects with it, and no failure is an unhandled one.
 */

export class RequestsInFlight {
  readonly #countMax: number;
  readonly #sent: Set<Promise<void>> = new Set();
  #failure: unknown = null;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** Takes a request that has begun; resolves when there is room for another one. Errors: that of any request so far. */
  async add(request: Promise<void>): Promise<void> {
    const sent: Promise<void> = request
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => this.#sent.delete(sent));
    this.#sent.add(sent);
    while (this.#sent.size >= this.#countMax) await Promise.race(this.#sent);
    this.throwFailure();
  }

  /** Resolves when all have ended well. */
  async settle(): Promise<void> {
    await Promise.all(this.#sent);
    this.throwFailure();
  }

  throwFailure(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}
