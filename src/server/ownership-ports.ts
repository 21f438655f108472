/** What moving partitions needs of the control table and of the other nodes. */

import type { ControlTable, TableVersion } from "../model/ownership.ts";

export interface TableSource {
  /** Null before the first table was read. */
  current(): TableVersion | null;
  /** Applies a change under compare-and-set; resolves to the table that then holds. Rejects when the store is away. */
  change(change: (table: ControlTable) => ControlTable | null): Promise<TableVersion>;
  /** Reads the newest table. Rejects when the store is away. */
  refresh(): Promise<unknown>;
  onChange(listener: (version: TableVersion) => void): () => void;
}

export interface OwnershipPeers {
  /** Last committed sequence of a living incarnation's log. */
  committedSequence(incarnation: number): Promise<number>;
  /** Asks the owner to write what a partition has changed into a checkpoint; resolves when that is there, or can't be. */
  askCheckpoint(incarnation: number, move: MoveRequest): Promise<void>;
  /** Asks the owner to release a partition to this node; resolves to the sequence of RELEASE, before the table says so. */
  askRelease(incarnation: number, move: MoveRequest): Promise<number>;
}

export interface MoveRequest {
  readonly partition: number;
  /** Epoch of the owner that is asked. */
  readonly epoch: number;
  /** Incarnation that asks. */
  readonly to: number;
}
