/**
 * Whom a fault befalls. Where the plan says so, nodes that own much are befallen more often: a node with nothing open
 * has little to lose. Counts what was hit.
 * Invariant: draws from a stream of its own, and nothing at all where the plan has no such bias.
 */

import { aliveMembers, type ControlTable, NOBODY } from "../model/ownership.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimWorld } from "./sim-world.ts";

/** What the simulator knows of who owns what, from outside. */
export interface Ownership {
  /** Partitions that an incarnation would serve reads of now. */
  readonly openOf: (incarnation: number) => readonly number[];
  /** As it was stored last. */
  readonly table: () => ControlTable | null;
}

export interface VictimsOptions {
  readonly world: SimWorld;
  readonly ownership: Ownership;
  readonly partitions: number;
  readonly isBiased: boolean;
}

/** Of a node with nothing open; a node with the mean share has 1 more. */
const WEIGHT_OF_ANY = 0.25;

export class Victims {
  readonly #options: VictimsOptions;
  readonly #random: SimRandom;
  /** Faults of nodes, and how many of them hit an owner, any node during a move, and one that takes part in it. */
  readonly counts: Record<"hits" | "hitsOfOwners" | "hitsDuringMoves" | "hitsOfMovers", number> = {
    hits: 0,
    hitsOfOwners: 0,
    hitsDuringMoves: 0,
    hitsOfMovers: 0,
  };

  constructor(options: VictimsOptions) {
    this.#options = options;
    this.#random = options.world.random("faults/victims");
  }

  /** `drawn` unless the plan is biased; `running` must not be empty. */
  choose(drawn: SimNode, running: readonly SimNode[]): SimNode {
    const { isBiased, partitions } = this.#options;
    if (!isBiased) return drawn;
    const weights = running.map((node) => {
      return WEIGHT_OF_ANY + (this.openCount(node) * running.length) / partitions;
    });
    let left = this.#random.unit() * weights.reduce((sum, weight) => sum + weight, 0);
    for (const [i, node] of running.entries()) {
      left -= weights[i] as number;
      if (left < 0) return node;
    }
    return drawn;
  }

  openCount(node: SimNode): number {
    const { openOf } = this.#options.ownership;
    return node.started.reduce((sum, { incarnation }) => sum + openOf(incarnation).length, 0);
  }

  /** To be called before anything is done to it. */
  hit(node: SimNode): void {
    const { counts } = this;
    counts.hits++;
    if (this.openCount(node) > 0) counts.hitsOfOwners++;
    const table = this.#options.ownership.table();
    const movers = table === null ? [] : moversOf(table);
    if (movers.length > 0) counts.hitsDuringMoves++;
    if (node.started.some(({ incarnation }) => movers.includes(incarnation))) counts.hitsOfMovers++;
  }
}

/** Sources and targets of the moves under way, and who coordinates them; empty when nothing moves. */
function moversOf(table: ControlTable): number[] {
  const moving = table.partitions.filter(({ moveTo }) => moveTo !== NOBODY);
  if (moving.length === 0) return [];
  return [...moving.flatMap(({ owner, moveTo }) => [owner, moveTo]), coordinatorOf(table)];
}

/** The live member that should act: the lowest incarnation. */
export function coordinatorOf(table: ControlTable): number {
  return aliveMembers(table)[0]?.incarnation ?? NOBODY;
}
