/** Who owns what, for the router: the control table as its keeper knows it. */

import type { TableKeeper } from "../control-plane/table-keeper.ts";
import { aliveMembers, type ControlTable, memberOf, NOBODY, ownerOf } from "../model/ownership.ts";
import type { ClusterMember, OwnershipView } from "../router/ownership-view.ts";

export class TableOwnership implements OwnershipView {
  readonly self: number;
  readonly isAlone = false;
  readonly #keeper: TableKeeper;

  constructor(self: number, keeper: TableKeeper) {
    this.self = self;
    this.#keeper = keeper;
  }

  get revision(): number {
    return this.#keeper.current()?.revision ?? 0;
  }

  ownerOf(partition: number): number {
    const table = this.#table();
    return table === undefined ? NOBODY : ownerOf(table, partition);
  }

  nodeIdOf(incarnation: number): string | null {
    const table = this.#table();
    return table === undefined ? null : (memberOf(table, incarnation)?.nodeId ?? null);
  }

  members(): readonly ClusterMember[] {
    const table = this.#table();
    return table === undefined ? [] : aliveMembers(table);
  }

  seen(revision: number): void {
    this.#keeper.hint(revision);
  }

  onChange(listener: () => void): () => void {
    return this.#keeper.onChange(() => listener());
  }

  #table(): ControlTable | undefined {
    return this.#keeper.current()?.table;
  }
}
