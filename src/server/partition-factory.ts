/** Makes the empty state of a partition, and the actor of one that is to be opened; all of one node share what is here. */

import type { GroupCommit } from "../commit/group-commit.ts";
import { CounterTable } from "../counters/counter-table.ts";
import type { CatchallError } from "../model/errors.ts";
import type { Rule } from "../model/status.ts";
import { IdempotencyWindow, type KeyBudget } from "../partition/idempotency-window.ts";
import { PartitionActor } from "../partition/partition-actor.ts";
import {
  type EventCounter,
  PartitionState,
  type StateChange,
} from "../partition/partition-state.ts";
import type { Random } from "../runtime/random.ts";

export interface PartitionFactoryOptions {
  readonly partitions: number;
  readonly idempotencyWindowMs: number;
  readonly keyBudget: KeyBudget;
  readonly random: Random;
  readonly eventCounters: readonly [EventCounter, EventCounter];
  /** The rule of a partition that has never seen a rule change. */
  readonly initialRule: () => Rule;
  readonly refusal: () => CatchallError | null;
  /** Told of a status change in a partition; also of those found again on replay. */
  readonly onChange: (change: StateChange) => void;
}

export class PartitionFactory {
  readonly #options: PartitionFactoryOptions;
  /** Domains are chosen by attackers: their places in the tables are not to be foreseen. */
  readonly #seed: readonly [number, number];

  constructor(options: PartitionFactoryOptions) {
    this.#options = options;
    this.#seed = [options.random.uint32(), options.random.uint32()];
  }

  createState(partition: number): PartitionState {
    const { partitions, idempotencyWindowMs, keyBudget, initialRule, onChange } = this.#options;
    return new PartitionState({
      partition,
      table: new CounterTable({ partition, partitions, seed: this.#seed }),
      window: new IdempotencyWindow(idempotencyWindowMs, keyBudget),
      rule: initialRule(),
      onChange,
    });
  }

  createActor(state: PartitionState, epoch: number, commit: GroupCommit): PartitionActor {
    const { keyBudget, refusal, eventCounters } = this.#options;
    // Only from here on: what a replay applies was counted by those who took it in.
    state.eventCounters = eventCounters;
    return new PartitionActor({ state, epoch, commit, keyBudget, refusal });
  }
}
