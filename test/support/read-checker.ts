/**
 * Writes and reads of a few domains through many nodes at once, and judges every read: it shows all that was acknowledged
 * before it began (I5), nothing that was not sent before it ended (I6), and never less than a read that ended before it
 * began (I7), whichever nodes were asked. Refusals and broken connections are no reads.
 */

import { randomUUID } from "node:crypto";
import type { ClusterRig } from "./cluster-rig.ts";

const PAUSE_MS = 10;

export interface ReadReport {
  readonly reads: number;
  readonly writes: number;
  /** Answers that were neither, by status and code; transport failures by their name. */
  readonly refusals: Readonly<Record<string, number>>;
  readonly violations: readonly string[];
}

interface Watched {
  readonly domain: string;
  /** Events whose first send has begun. */
  sent: number;
  acked: number;
  /** The highest count that a read which has ended has shown. */
  read: number;
}

export class ReadChecker {
  readonly #rig: ClusterRig;
  readonly #nodes: readonly string[];
  readonly #watched: readonly Watched[];
  readonly #refusals: Map<string, number> = new Map();
  readonly #violations: string[] = [];
  readonly #loops: Promise<void>[] = [];
  #isStopping = false;
  #reads = 0;
  #writes = 0;

  constructor(rig: ClusterRig, nodes: readonly string[], domains: readonly string[]) {
    this.#rig = rig;
    this.#nodes = nodes;
    this.#watched = domains.map((domain) => ({ domain, sent: 0, acked: 0, read: 0 }));
  }

  start(): void {
    for (const [i, watched] of this.#watched.entries()) {
      this.#loops.push(this.#write(watched, i), this.#read(watched, i), this.#read(watched, i + 1));
    }
  }

  /** Ends the traffic; every domain's count must then be exactly what was acknowledged. */
  async stop(): Promise<ReadReport> {
    this.#isStopping = true;
    await Promise.all(this.#loops);
    const counted = await this.#rig.counted(
      this.#rig.running[0] ?? "",
      this.#watched.map(({ domain }) => domain),
    );
    for (const [i, { domain, acked }] of this.#watched.entries()) {
      const { delivered } = counted[i] ?? { delivered: -1 };
      if (delivered !== acked) this.#violations.push(`${domain} counts ${delivered}, not ${acked}`);
    }
    const refusals = Object.fromEntries(this.#refusals);
    return { reads: this.#reads, writes: this.#writes, refusals, violations: this.#violations };
  }

  /** One event after another, each with a key and sent to one node after another until it is acknowledged. */
  async #write(watched: Watched, offset: number): Promise<void> {
    for (let turn = offset; !this.#isStopping; ) {
      const headers = { "idempotency-key": randomUUID() };
      watched.sent++;
      for (let isAcked = false; !isAcked; turn++) {
        isAcked = await this.#attempt(
          turn,
          "PUT",
          `/events/${watched.domain}/delivered`,
          headers,
        ).then((answer) => answer !== null);
      }
      watched.acked++;
      this.#writes++;
      await pause();
    }
  }

  async #read(watched: Watched, offset: number): Promise<void> {
    for (let turn = offset; !this.#isStopping; turn++) {
      const atLeast = Math.max(watched.acked, watched.read);
      const body = await this.#attempt(turn, "GET", `/domains/${watched.domain}`, {});
      if (body !== null) {
        const { delivered, node } = body as { delivered: number; node: string };
        this.#reads++;
        if (delivered < atLeast || delivered > watched.sent) {
          const bounds = `${atLeast} to ${watched.sent}`;
          const asked = this.#nodes[turn % this.#nodes.length];
          this.#violations.push(
            `${asked}, owner ${node}: ${watched.domain} read ${delivered}, must be ${bounds}`,
          );
        }
        watched.read = Math.max(watched.read, delivered);
      }
      await pause();
    }
  }

  /** Null when refused, or when the connection broke. */
  async #attempt(
    turn: number,
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<unknown> {
    const node = this.#nodes[turn % this.#nodes.length] ?? "";
    try {
      const { status, body } = await this.#rig.send(node, method, path, { headers });
      if (status === 200 || status === 204) return body;
      this.#count(`${method} ${status} ${body.code}`);
    } catch (error) {
      this.#count(`${method} ${error instanceof Error ? error.name : "broken"}`);
    }
    await pause();
    return null;
  }

  #count(refusal: string): void {
    this.#refusals.set(refusal, (this.#refusals.get(refusal) ?? 0) + 1);
  }
}

async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
