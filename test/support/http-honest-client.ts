/**
 * An honest client beside the others: one event after another, each on a connection of its own, which must be counted
 * and acknowledged whatever the others send. Its round trips are also the clock of those who wait for nothing.
 */
import { exchange } from "./raw-http.ts";

const DOMAINS = 7;
const ANSWER_MS_MAX = 12_000;

export class HonestClient {
  sent = 0;
  /** By domain, what the client was told. */
  readonly acknowledged: Map<string, number> = new Map();
  readonly faults: string[] = [];
  readonly #port: number;
  #isStopped = false;
  #hold: Promise<void> | null = null;
  #release: () => void = () => undefined;
  #onHeld: (() => void) | null = null;
  #waiting: (() => void)[] = [];

  constructor(port: number) {
    this.#port = port;
  }

  /** Resolves after the end of a request that begins after this call. */
  roundTrip(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async run(): Promise<void> {
    while (!this.#isStopped) {
      if (this.#hold !== null) {
        this.#onHeld?.();
        await this.#hold;
      }
      const waiting = this.#waiting;
      this.#waiting = [];
      if (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      else await this.#sendOne();
      for (const resolve of waiting) resolve();
    }
  }

  /** Resolves once nothing of this client is under way; nothing is, until `resume`. */
  pause(): Promise<void> {
    this.#hold = new Promise((resolve) => {
      this.#release = resolve;
    });
    return new Promise((resolve) => {
      this.#onHeld = resolve;
    });
  }

  resume(): void {
    this.#hold = null;
    this.#release();
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #sendOne(): Promise<void> {
    const domain = `h${this.sent % DOMAINS}.example`;
    const text = `PUT /events/${domain}/delivered HTTP/1.1\r\nHost: a.example\r\n\r\n`;
    this.sent++;
    const { responses } = await exchange(this.#port, text, { timeoutMs: ANSWER_MS_MAX });
    const status = responses[0]?.status;
    if (status === 204) this.acknowledged.set(domain, (this.acknowledged.get(domain) ?? 0) + 1);
    else this.faults.push(`an honest client got ${status ?? "no answer"}`);
  }
}
