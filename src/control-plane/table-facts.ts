/**
 * What follows from a table alone, worked out once for each table: rounds come many times a second, tables seldom.
 * Invariant: the same answers as if everything was worked out anew; tables are never changed in place.
 */

import { aliveMembers, type ControlTable, type Member } from "../model/ownership.ts";
import { leaseKey } from "./control-store.ts";
import { isAnythingMoving, stepRebalances } from "./rebalance-changes.ts";
import { planRebalance } from "./rebalance-plan.ts";

export class TableFacts {
  #table: ControlTable | null = null;
  #alive: readonly Member[] = [];
  #leaseKeys: readonly (readonly [incarnation: number, key: string])[] = [];
  #isStepDue: boolean | null = null;
  #isBalanced: boolean | null = null;

  /** The members that are alive in it. */
  alive(table: ControlTable): readonly Member[] {
    this.#look(table);
    return this.#alive;
  }

  /** The keys of their leases, by incarnation. */
  leaseKeys(table: ControlTable): readonly (readonly [incarnation: number, key: string])[] {
    this.#look(table);
    return this.#leaseKeys;
  }

  /** A rebalance or drain can go on. */
  isStepDue(table: ControlTable): boolean {
    this.#look(table);
    this.#isStepDue ??= isAnythingMoving(table) && stepRebalances(table) !== null;
    return this.#isStepDue;
  }

  /** There is nothing to gain by a rebalance. */
  isBalanced(table: ControlTable): boolean {
    this.#look(table);
    this.#isBalanced ??= planRebalance(table).length === 0;
    return this.#isBalanced;
  }

  #look(table: ControlTable): void {
    if (this.#table === table) return;
    this.#table = table;
    this.#alive = aliveMembers(table);
    this.#leaseKeys = this.#alive.map(({ incarnation }) => [incarnation, leaseKey(incarnation)]);
    this.#isStepDue = null;
    this.#isBalanced = null;
  }
}
