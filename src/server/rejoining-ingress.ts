/**
 * The ingress of a node over all its lives: passes everything to the life that serves, and between two lives refuses
 * with `not_ready`, after the last one with `shutting_down`, effect none.
 */

import type { DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import type { EventKind } from "../model/event.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
import type { Rule, StatusName } from "../model/status.ts";
import type { StatusChange } from "../model/status-change.ts";
import type {
  ClusterView,
  DomainLocation,
  DomainPage,
  DomainStatus,
  EventReply,
  ImportReport,
  Ingress,
  Readiness,
  RebalancePlan,
  RebalanceProgress,
  RuleReport,
  Stats,
} from "../router/ingress.ts";

export class RejoiningIngress implements Ingress {
  readonly nodeId: string;
  readonly pendingEventsMax: number;
  #life: Ingress | null = null;
  #refusal: readonly ["not_ready" | "shutting_down", string] = [
    "not_ready",
    "The node is joining the cluster",
  ];
  readonly #listeners: Map<(change: StatusChange) => void, () => void> = new Map();

  constructor(options: { readonly nodeId: string; readonly pendingEventsMax: number }) {
    this.nodeId = options.nodeId;
    this.pendingEventsMax = options.pendingEventsMax;
  }

  get pendingEvents(): number {
    return this.#life?.pendingEvents ?? 0;
  }

  /** From now on this life answers; who listens to status changes listens to it. */
  begin(life: Ingress): void {
    this.#life = life;
    for (const listener of this.#listeners.keys()) {
      this.#listeners.set(listener, life.onStatusChange(listener));
    }
  }

  /** The life is over. `reason` is a sentence for `/readyz`. */
  end(reason: string): void {
    this.#life = null;
    if (this.#refusal[0] === "not_ready") this.#refusal = ["not_ready", reason];
  }

  /** No other life will begin. */
  endForGood(): void {
    this.#life = null;
    this.#refusal = ["shutting_down", "The node is stopping"];
  }

  submit(
    domain: DomainParser,
    kind: EventKind,
    count: number,
    eventId: string | null,
    reply: EventReply,
    index: number,
  ): void {
    const life = this.#life;
    if (life === null) reply.settled(index, new CatchallError(...this.#refusal));
    else life.submit(domain, kind, count, eventId, reply, index);
  }

  async statuses(domains: readonly DomainName[]): Promise<DomainStatus[]> {
    return this.#now().statuses(domains);
  }

  async status(domain: DomainName): Promise<DomainStatus> {
    return this.#now().status(domain);
  }

  async page(query: {
    readonly status: StatusName | null;
    readonly cursor: string | null;
    readonly limit: number;
  }): Promise<DomainPage> {
    return this.#now().page(query);
  }

  async stats(): Promise<Stats> {
    return this.#now().stats();
  }

  rule(): Rule {
    return this.#now().rule();
  }

  async tryRule(rule: Rule): Promise<RuleReport> {
    return this.#now().tryRule(rule);
  }

  async setRule(rule: Rule, by: string): Promise<RuleReport> {
    return this.#now().setRule(rule, by);
  }

  async setOverride(
    domain: DomainName,
    override: { readonly status: StatusName; readonly reason: string },
    by: string,
  ): Promise<DomainStatus> {
    return this.#now().setOverride(domain, override, by);
  }

  async removeOverride(domain: DomainName, by: string): Promise<void> {
    return this.#now().removeOverride(domain, by);
  }

  async reset(domain: DomainName, by: string): Promise<void> {
    return this.#now().reset(domain, by);
  }

  onStatusChange(listener: (change: StatusChange) => void): () => void {
    this.#listeners.set(listener, this.#life?.onStatusChange(listener) ?? (() => undefined));
    return () => {
      this.#listeners.get(listener)?.();
      this.#listeners.delete(listener);
    };
  }

  readiness(): Readiness {
    const life = this.#life;
    if (life !== null) return life.readiness();
    return { ready: false, reasons: [this.#refusal[1]], checks: { mode: "cluster" } };
  }

  async cluster(): Promise<ClusterView> {
    return this.#now().cluster();
  }

  async locate(domain: DomainName): Promise<DomainLocation> {
    return this.#now().locate(domain);
  }

  async rebalance(options: { readonly isDryRun: boolean }): Promise<RebalancePlan> {
    return this.#now().rebalance(options);
  }

  async rebalanceProgress(id: string): Promise<RebalanceProgress> {
    return this.#now().rebalanceProgress(id);
  }

  async cancelRebalance(id: string): Promise<RebalanceProgress> {
    return this.#now().cancelRebalance(id);
  }

  async drain(node: string): Promise<RebalancePlan> {
    return this.#now().drain(node);
  }

  async importChunk(chunk: ImportChunk, by: string): Promise<ImportReport> {
    return this.#now().importChunk(chunk, by);
  }

  #now(): Ingress {
    if (this.#life === null) throw new CatchallError(...this.#refusal);
    return this.#life;
  }
}
