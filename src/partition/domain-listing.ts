/**
 * The next names of one page of a listing, in order, without holding the event loop: a page may be as large as someone
 * who chooses names likes, so that the walk is cut by entries, and only as many names are kept as are asked for.
 * Invariant: a turn looks at no more than ENTRIES_PER_TURN entries; what is yielded in between is checked again by the
 * caller, in the turn in which it answers.
 */

import { STATUS_NAMES, STATUS_UNSEEN, type StatusName } from "../model/status.ts";
import type { Timers } from "../runtime/timers.ts";
import type { PartitionActor } from "./partition-actor.ts";

/** Entries, and pages, that a listing looks at before it lets other work run: about a millisecond. */
export const ENTRIES_PER_TURN = 4096;

export interface ListedName {
  readonly name: string;
  readonly entry: number;
}

/** Counts the steps of one listing over all of its pages. */
export class ListingTurns {
  readonly #timers: Timers;
  #left: number = ENTRIES_PER_TURN;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Takes a step; true when the turn is over: then await `next`. */
  isOver(): boolean {
    this.#left--;
    return this.#left < 0;
  }

  async next(): Promise<void> {
    await new Promise<void>((resolve) => this.#timers.soon(resolve));
    this.#left = ENTRIES_PER_TURN;
  }
}

/**
 * The first `countMax` (1 or more) names after `afterName` ("" for all), those of one status where one is given.
 * `isMore`: others follow. Throws when the node may not answer any more.
 */
export async function namesAfter(
  actor: PartitionActor,
  page: number,
  query: {
    readonly afterName: string;
    readonly status: StatusName | null;
    readonly countMax: number;
  },
  turns: ListingTurns,
): Promise<{ readonly names: readonly ListedName[]; readonly isMore: boolean }> {
  const { state } = actor;
  const { table } = state;
  const { afterName, status, countMax } = query;
  const names: ListedName[] = [];
  /** Names from here on are beyond what is asked for. */
  let beyond: string | null = null;
  for (const entry of table.pageEntries(page)) {
    if (turns.isOver()) {
      await turns.next();
      actor.assertReadable();
    }
    if (table.status(entry) === STATUS_UNSEEN) continue;
    if (status !== null) {
      state.settle(entry);
      if (STATUS_NAMES[table.status(entry)] !== status) continue;
    }
    const name = table.name(entry);
    if (name <= afterName || (beyond !== null && name > beyond)) continue;
    names.push({ name, entry });
    if (names.length > 2 * countMax) beyond = keepFirst(names, countMax);
  }
  const isMore = beyond !== null || names.length > countMax;
  keepFirst(names, countMax);
  return { names, isMore };
}

/** Sorts, drops what is beyond `countMax`, and gives the last name kept. */
function keepFirst(names: ListedName[], countMax: number): string | null {
  names.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (names.length > countMax) names.length = countMax;
  return names.at(-1)?.name ?? null;
}
