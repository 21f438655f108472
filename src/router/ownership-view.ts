/**
 * Port: who owns which partition, as this node sees the control table now. It may be behind; the owner's own check
 * decides, and its answer carries the revision that this view should have.
 */

import { NOBODY } from "../model/ownership.ts";

export interface ClusterMember {
  readonly incarnation: number;
  readonly nodeId: string;
}

export interface OwnershipView {
  /** This incarnation. */
  readonly self: number;
  /** True when no other node can ever own anything: then nothing is forwarded and nothing waits for an owner. */
  readonly isAlone: boolean;
  /** Of the table that the answers below are from; rises. */
  readonly revision: number;
  /** Incarnation, NOBODY before the first assignment. */
  ownerOf(partition: number): number;
  /** Name of the node with this incarnation, null when the table does not know it. */
  nodeIdOf(incarnation: number): string | null;
  /** Members that are alive, by rising incarnation. */
  members(): readonly ClusterMember[];
  /** A hint that a table with this revision exists. */
  seen(revision: number): void;
  /** Calls `listener` after each newer table; returns the end of it. */
  onChange(listener: () => void): () => void;
}

/** The view of a node that is alone: it owns every partition for as long as it lives. */
export class SoleOwner implements OwnershipView {
  readonly self: number;
  readonly isAlone = true;
  readonly revision = 0;
  readonly #nodeId: string;

  constructor(self: number, nodeId: string) {
    this.self = self;
    this.#nodeId = nodeId;
  }

  ownerOf(): number {
    return this.self;
  }

  nodeIdOf(incarnation: number): string | null {
    return incarnation === this.self && incarnation !== NOBODY ? this.#nodeId : null;
  }

  members(): readonly ClusterMember[] {
    return [{ incarnation: this.self, nodeId: this.#nodeId }];
  }

  seen(): void {
    // There is no other table.
  }

  onChange(): () => void {
    return () => undefined;
  }
}
