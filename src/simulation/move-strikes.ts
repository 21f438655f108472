/**
 * Strikes those who take part in a move, at its worst moments: within a random short time of the table that begins or
 * ends it being stored, its source, its target or the coordinator is killed, frozen or cut.
 * Invariant: one strike at a time is on its way; draws from a stream of its own.
 */

import { type ControlTable, NOBODY } from "../model/ownership.ts";
import type { SimRandom } from "./sim-random.ts";
import { coordinatorOf } from "./victims.ts";

/** What may befall one. */
export const STRIKES = ["kill", "pause", "suspend", "cut", "cutOff"] as const;
export type Strike = (typeof STRIKES)[number];

/** Of the tables that begin or end moves, so many bring a strike. */
const SHARE = 0.7;
/** A planned move takes from some milliseconds to some seconds. */
const DELAYS_MAX_MS = [5, 50, 500, 3000];

export interface MoveStrikesOptions {
  readonly random: SimRandom;
  readonly isDue: () => boolean;
  readonly after: (delayMs: number, work: () => void) => void;
  readonly strike: (incarnation: number, how: Strike) => void;
}

interface Move {
  readonly from: number;
  readonly to: number;
}

export class MoveStrikes {
  readonly #options: MoveStrikesOptions;
  /** By partition. */
  #moves: ReadonlyMap<number, Move> = new Map();
  #isArmed = false;

  constructor(options: MoveStrikesOptions) {
    this.#options = options;
  }

  /** To be called with each table that is stored. */
  tableStored(table: ControlTable): void {
    const before = this.#moves;
    this.#moves = movesOf(table);
    const { random, isDue, after, strike } = this.#options;
    const [move] = [
      ...[...this.#moves].filter(([partition]) => !before.has(partition)),
      ...[...before].filter(([partition]) => !this.#moves.has(partition)),
    ].map(([, one]) => one);
    if (move === undefined || this.#isArmed || !isDue() || !random.chance(SHARE)) return;
    this.#isArmed = true;
    const victim = random.pick([move.from, move.to, coordinatorOf(table)]);
    const how = random.pick(STRIKES);
    after(random.between(0, random.pick(DELAYS_MAX_MS)), () => {
      this.#isArmed = false;
      strike(victim, how);
    });
  }
}

function movesOf(table: ControlTable): ReadonlyMap<number, Move> {
  const moves = new Map<number, Move>();
  for (const [partition, { owner, moveTo }] of table.partitions.entries()) {
    if (moveTo !== NOBODY) moves.set(partition, { from: owner, to: moveTo });
  }
  return moves;
}
