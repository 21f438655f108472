/**
 * Judges every change of the control records.
 * I9 (epochs only rise by one, incarnations are never reused), I11 (a partition is given away only after RELEASE or
 * DEAD + SEAL, with the right end), I13 (no lease is declared dead while its holder would still serve), I16 (a stretch
 * leaves the lineage only behind a manifest).
 */

import {
  type ControlRecord,
  incarnationOfKey,
  leaseKey,
  TABLE_KEY,
} from "../../control-plane/control-store.ts";
import { parseTable } from "../../control-plane/control-table-codec.ts";
import { type LeaseRecord, parseLease } from "../../control-plane/lease-record.ts";
import { changeBreach, EMPTY_LOG_END } from "../../control-plane/table-check.ts";
import {
  aliveMembers,
  type ControlTable,
  type LineageStretch,
  NOBODY,
  type PartitionAssignment,
} from "../../model/ownership.ts";
import type { SimWorld } from "../sim-world.ts";
import type { StoreHistory } from "../store-history.ts";
import { isBefore, type LogChecker } from "./log-checker.ts";

export interface TableCheckerOptions {
  readonly world: SimWorld;
  readonly logs: LogChecker;
  /** Partitions that an incarnation would serve reads of now. */
  readonly openOf: (incarnation: number) => readonly number[];
  /** When the control store was last away from everybody. */
  readonly lastOutage: () => { readonly startMs: number; readonly endMs: number } | null;
  /** True when a put may arrive long after it was sent: then its time says nothing of when it was decided. */
  readonly arePutsLate: boolean;
}

export class TableChecker implements StoreHistory {
  readonly #options: TableCheckerOptions;
  /** When each incarnation was last heard of: joined or renewed its lease, in the time of the world. */
  readonly #heardMs: Map<number, number> = new Map();
  readonly #leases: Map<string, LeaseRecord> = new Map();
  readonly #incarnations: Set<number> = new Set();
  table: ControlTable | null = null;
  changes = 0;
  deaths = 0;
  moves = 0;

  constructor(options: TableCheckerOptions) {
    this.#options = options;
  }

  recordPut(record: ControlRecord): void {
    if (record.key === TABLE_KEY) this.#table(record);
    else this.#lease(record);
  }

  /** Partitions that each member owns which is alive and not told to give them away; empty without a table. */
  shares(): number[] {
    const { table } = this;
    if (table === null) return [];
    return aliveMembers(table)
      .filter(({ isDraining }) => !isDraining)
      .map((member) => {
        return table.partitions.filter(({ owner }) => owner === member.incarnation).length;
      });
  }

  #fail(rule: string, text: string): void {
    this.#options.world.fail(rule, text);
  }

  #lease(record: ControlRecord): void {
    const incarnation = incarnationOfKey(record.key) ?? 0;
    const { ok: lease, damage } = parseLease(record.value, incarnation);
    if (lease === undefined) {
      this.#fail("I13", `The lease of ${incarnation} cannot be read: ${damage}`);
      return;
    }
    const old = this.#leases.get(record.key);
    this.#leases.set(record.key, lease);
    if (lease.state === "held") this.#heardMs.set(incarnation, this.#options.world.nowMs);
    if (old !== undefined && old.state !== "held") {
      this.#fail("I13", `The lease of ${incarnation} was ${old.state} and was written again`);
    }
    if (lease.state === "held") return;
    this.deaths++;
    if (lease.state === "dead") this.#dead(lease);
    const open = this.#options.openOf(incarnation);
    if (open.length === 0) return;
    this.#fail("I13", `${incarnation} is ${lease.state} while it serves partitions ${open.join()}`);
  }

  /**
   * An outage kills nobody: its time does not count against anybody (design 12.9). Who was silent for long enough around
   * it may be declared dead soon after it, by a node that was suspended meanwhile and whose clock stood still.
   */
  #dead({ incarnation, ttlMs }: LeaseRecord): void {
    const { world, lastOutage, arePutsLate } = this.#options;
    const outage = lastOutage();
    if (outage === null || outage.endMs - outage.startMs < ttlMs) return;
    // What was sent before it may arrive after it.
    if (arePutsLate || world.nowMs - outage.endMs >= ttlMs) return;
    const heardMs = this.#heardMs.get(incarnation) ?? outage.startMs;
    if (outage.startMs - heardMs + (world.nowMs - outage.endMs) >= ttlMs) return;
    const sinceMs = Math.round(world.nowMs - outage.endMs);
    this.#fail("I13", `${incarnation} was declared dead ${sinceMs} ms after an outage for all`);
  }

  #table(record: ControlRecord): void {
    const { ok: table, damage } = parseTable(record.value);
    if (table === undefined) {
      this.#fail("I9", `The table cannot be read: ${damage}`);
      return;
    }
    this.changes++;
    const old = this.table;
    this.table = table;
    this.#members(table, old);
    if (old === null) return;
    const breach = changeBreach(old, table);
    if (breach !== null) this.#fail("I9", `The table broke its rules: ${breach}`);
    for (const [partition, before] of old.partitions.entries()) {
      const after = table.partitions[partition];
      if (after === undefined) continue;
      if (after.owner !== before.owner) this.#given(partition, before, after);
      this.#lineage(partition, before, after);
    }
  }

  #members(table: ControlTable, old: ControlTable | null): void {
    const known = new Set(old?.members.map((member) => member.incarnation));
    for (const { incarnation } of table.members) {
      if (known.has(incarnation)) continue;
      if (this.#incarnations.has(incarnation)) {
        this.#fail("I9", `Incarnation ${incarnation} was used again`);
      }
      this.#incarnations.add(incarnation);
      this.#heardMs.set(incarnation, this.#options.world.nowMs);
    }
  }

  /** I11. */
  #given(partition: number, before: PartitionAssignment, after: PartitionAssignment): void {
    this.moves++;
    const { owner, epoch } = before;
    if (owner === NOBODY) return;
    const stretch = after.lineage.find((one) => one.epoch === epoch);
    const what = `Partition ${partition}, epoch ${epoch}, from ${owner} to ${after.owner}`;
    if (stretch === undefined) {
      this.#fail("I11", `${what}: its stretch is not in the lineage`);
      return;
    }
    if (this.#isReleased(partition, stretch) || this.#isSealed(stretch)) return;
    this.#fail("I11", `${what}: neither RELEASE nor DEAD and SEAL at ${stretch.endSequence}`);
  }

  #isReleased(partition: number, { epoch, incarnation, endSequence }: LineageStretch): boolean {
    return this.#options.logs.releasedAt(incarnation, partition, epoch) === endSequence;
  }

  #isSealed({ incarnation, endSequence }: LineageStretch): boolean {
    const lease = this.#leases.get(leaseKey(incarnation));
    if (lease === undefined || lease.state === "held") return false;
    return this.#options.logs.sealedAt(incarnation) === endSequence;
  }

  /** A stretch that is dropped must be covered, or empty and not the newest. */
  #lineage(partition: number, before: PartitionAssignment, after: PartitionAssignment): void {
    const kept = new Set(after.lineage.map((stretch) => stretch.epoch));
    for (const stretch of before.lineage) {
      if (kept.has(stretch.epoch)) continue;
      const { epoch, incarnation, endSequence } = stretch;
      const isEmpty = this.#options.logs.sealedAt(incarnation) === EMPTY_LOG_END;
      if (isEmpty && after.epoch > before.epoch) continue;
      const watermark = this.#options.logs.watermark(partition);
      const end = { epoch, incarnation, sequence: endSequence };
      if (watermark !== null && !isBefore(watermark, end)) continue;
      const where = `epoch ${epoch} of partition ${partition}`;
      this.#fail("I16", `The lineage forgot ${where}, which no manifest covers`);
    }
  }
}
