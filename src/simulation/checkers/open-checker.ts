/**
 * I12: at any instant at most one incarnation would serve a read of a partition. One partition is looked at every few
 * events, in turn: an overlap that matters lasts longer than that, and each look costs.
 */

import type { SimNode } from "../sim-node.ts";
import type { SimWorld } from "../sim-world.ts";

const EVENTS_PER_LOOK = 3;

export class OpenChecker {
  readonly #world: SimWorld;
  readonly #nodes: readonly SimNode[];
  readonly #partitions: number;
  #next = 0;
  #events = 0;

  constructor(world: SimWorld, nodes: readonly SimNode[], partitions: number) {
    this.#world = world;
    this.#nodes = nodes;
    this.#partitions = partitions;
  }

  /** To be called after each event. */
  check(): void {
    this.#events = (this.#events + 1) % EVENTS_PER_LOOK;
    if (this.#events !== 0) return;
    this.#next = (this.#next + 1) % this.#partitions;
    const open = this.openIn(this.#next);
    if (open.length < 2) return;
    this.#world.fail(
      "I12",
      `Partition ${this.#next} is open in incarnations ${open.join(" and ")}`,
    );
  }

  /** Incarnations that would serve a read of the partition now; frozen ones too, by their clocks. */
  openIn(partition: number): number[] {
    const open: number[] = [];
    for (const node of this.#nodes) {
      for (const started of node.started) {
        if (started.isOpen(partition)) open.push(started.incarnation);
      }
    }
    return open;
  }

  /** Partitions that one incarnation would serve reads of now. */
  openOf(incarnation: number): number[] {
    const open: number[] = [];
    for (const node of this.#nodes) {
      for (const started of node.started) {
        if (started.incarnation !== incarnation) continue;
        for (let p = 0; p < this.#partitions; p++) if (started.isOpen(p)) open.push(p);
      }
    }
    return open;
  }

  get areAllOpen(): boolean {
    for (let p = 0; p < this.#partitions; p++) if (this.openIn(p).length !== 1) return false;
    return true;
  }
}
