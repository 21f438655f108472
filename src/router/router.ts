/**
 * The one way in for every surface: events to their partition, reads to their owner, changes to the log.
 * Invariant: no answer comes from anywhere but the owner's memory, and none after this node may no longer serve.
 */

import type { DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import type { EventKind } from "../model/event.ts";
import { isoTime } from "../model/iso-time.ts";
import {
  type Rule,
  STATUS_CATCH_ALL,
  STATUS_NAMES,
  STATUS_NOT_CATCH_ALL,
  STATUS_UNKNOWN,
  type StatusCode,
  type StatusName,
} from "../model/status.ts";
import type { DomainReading, PartitionHost } from "../partition/partition-host.ts";
import type { StateChange } from "../partition/partition-state.ts";
import { SECTION_OVERRIDE, SECTION_RESET } from "../partition/section-codec.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Timers } from "../runtime/timers.ts";
import { TurnBudget } from "../runtime/turn-budget.ts";
import type { EventRouter } from "./event-router.ts";
import type {
  ClusterView,
  DomainLocation,
  DomainPage,
  DomainStatus,
  EventReply,
  Ingress,
  Readiness,
  RebalancePlan,
  RebalanceProgress,
  RuleReport,
  Stats,
  StatusChange,
  Totals,
} from "./ingress.ts";
import { decodeCursor, encodeCursor } from "./listing-cursor.ts";
import type { OperatorControl } from "./operator-control.ts";

/** How long one lookup of many may hold the event loop, ms. */
const TURN_MS = 4;

export interface RouterOptions {
  readonly nodeId: string;
  readonly host: PartitionHost;
  readonly events: EventRouter;
  readonly control: OperatorControl;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly pendingEventsMax: number;
  /** Null while changes are admitted: operators' changes are refused when events are. */
  readonly refusal: () => CatchallError | null;
}

export class Router implements Ingress {
  readonly nodeId: string;
  readonly pendingEventsMax: number;
  readonly #options: RouterOptions;
  readonly #listeners: Set<(change: StatusChange) => void> = new Set();

  constructor(options: RouterOptions) {
    this.#options = options;
    this.nodeId = options.nodeId;
    this.pendingEventsMax = options.pendingEventsMax;
  }

  get pendingEvents(): number {
    return this.#options.events.pendingEvents;
  }

  submit(
    domain: DomainParser,
    kind: EventKind,
    count: number,
    eventId: string | null,
    reply: EventReply,
    index: number,
  ): void {
    this.#options.events.submit(domain, kind, count, eventId, reply, index);
  }

  async status(domain: DomainName): Promise<DomainStatus> {
    return this.#view(this.#options.host.read(domain));
  }

  async statuses(domains: readonly DomainName[]): Promise<DomainStatus[]> {
    const { host, clock, timers } = this.#options;
    const budget = new TurnBudget(clock, TURN_MS);
    const views: DomainStatus[] = [];
    for (const domain of domains) {
      // Each reading is of its own turn, checked in that turn, and of a time after the question.
      if (views.length % 4 === 3 && budget.isSpent()) await budget.nextTurn(timers);
      views.push(this.#view(host.read(domain)));
    }
    return views;
  }

  async page(query: {
    readonly status: StatusName | null;
    readonly cursor: string | null;
    readonly limit: number;
  }): Promise<DomainPage> {
    const after = query.cursor === null ? null : decodeCursor(query.cursor);
    const { readings, next } = await this.#options.host.list(query.status, after, query.limit);
    return {
      items: readings.map((reading) => this.#view(reading)),
      nextCursor: next === null ? null : encodeCursor(next),
    };
  }

  async stats(): Promise<Stats> {
    await this.#options.host.settleRule();
    this.#options.host.assertReadable();
    const { delivered, bounced, byStatus } = this.#options.host.totals();
    const totals: Totals = {
      domains: {
        "catch-all": byStatus[STATUS_CATCH_ALL],
        "not catch-all": byStatus[STATUS_NOT_CATCH_ALL],
        unknown: byStatus[STATUS_UNKNOWN],
      },
      delivered,
      bounced,
    };
    return { ...totals, nodes: [{ ...totals, node: this.nodeId }], asOf: this.#now() };
  }

  rule(): Rule {
    return this.#options.control.rule();
  }

  async tryRule(rule: Rule): Promise<RuleReport> {
    return reportOf(rule, await this.#options.host.tryRule(rule));
  }

  async setRule(rule: Rule, by: string): Promise<RuleReport> {
    this.#assertAdmitting();
    const report = reportOf(rule, await this.#options.control.setRule(rule, by));
    this.#options.logger.info({ by, rule, domainsChanged: report.domainsChanged }, "Rule changed");
    return report;
  }

  async setOverride(
    domain: DomainName,
    override: { readonly status: StatusName; readonly reason: string },
    by: string,
  ): Promise<DomainStatus> {
    this.#assertAdmitting();
    const actor = this.#options.host.actorOf(domain);
    await actor.change({ kind: SECTION_OVERRIDE, domain, override, by });
    this.#options.logger.info({ by, domain, status: override.status }, "Override set");
    return this.status(domain);
  }

  async removeOverride(domain: DomainName, by: string): Promise<void> {
    this.#assertAdmitting();
    if (this.#options.host.read(domain).override === undefined) {
      throw new CatchallError("override_not_found");
    }
    const actor = this.#options.host.actorOf(domain);
    await actor.change({ kind: SECTION_OVERRIDE, domain, override: null, by });
    this.#options.logger.info({ by, domain }, "Override removed");
  }

  async reset(domain: DomainName, by: string): Promise<void> {
    this.#assertAdmitting();
    const before = this.#options.host.read(domain);
    const actor = this.#options.host.actorOf(domain);
    await actor.change({ kind: SECTION_RESET, domain, by });
    const { delivered, bounced } = before;
    this.#options.logger.info({ by, domain, delivered, bounced }, "Counts reset");
  }

  onStatusChange(listener: (change: StatusChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells the listeners of a change that was applied. Called by the partitions. */
  announce(change: StateChange): void {
    if (this.#listeners.size === 0) return;
    const { epoch, incarnation, sequence } = change.position;
    const name = change.table.name(change.entry);
    const told: StatusChange = {
      id: `${epoch}-${incarnation}-${sequence}-${change.partition}-${change.index ?? name}`,
      domain: name,
      from: STATUS_NAMES[change.from],
      to: STATUS_NAMES[change.to],
      delivered: change.table.delivered(change.entry),
      bounced: change.table.bounced(change.entry),
      at: isoTime(change.timeMs),
    };
    for (const listener of this.#listeners) {
      try {
        listener(told);
      } catch (error) {
        // A listener's failure must not reach the commit path.
        this.#options.logger.error({ err: error }, "A listener of status changes failed");
      }
    }
  }

  readiness(): Readiness {
    return this.#options.control.readiness();
  }

  async cluster(): Promise<ClusterView> {
    return this.#options.control.cluster();
  }

  async locate(domain: DomainName): Promise<DomainLocation> {
    return this.#options.control.locate(domain, this.#options.host.hashOf(domain));
  }

  async rebalance(options: { readonly isDryRun: boolean }): Promise<RebalancePlan> {
    if (!options.isDryRun) this.#assertAdmitting();
    return this.#options.control.rebalance(options.isDryRun);
  }

  async rebalanceProgress(id: string): Promise<RebalanceProgress> {
    return this.#options.control.rebalanceProgress(id);
  }

  async drain(node: string): Promise<RebalancePlan> {
    this.#assertAdmitting();
    return this.#options.control.drain(node);
  }

  #assertAdmitting(): void {
    const refusal = this.#options.refusal();
    if (refusal !== null) throw refusal;
  }

  #now(): string {
    return isoTime(this.#options.clock.wallMs());
  }

  #view(reading: DomainReading): DomainStatus {
    const { override } = reading;
    const view: DomainStatus = {
      domain: reading.domain,
      status: reading.status,
      reason: reading.reason,
      delivered: reading.delivered,
      bounced: reading.bounced,
      threshold: reading.threshold,
      firstSeen: timeOrNull(reading.firstSeenMs),
      lastSeen: timeOrNull(reading.lastSeenMs),
      statusSince: timeOrNull(reading.statusSinceMs),
      overridden: override !== undefined,
      node: this.nodeId,
      asOf: this.#now(),
    };
    if (override === undefined) return view;
    const { status, reason, by, atMs } = override;
    return { ...view, override: { status, reason, by, at: isoTime(atMs) } };
  }
}

function reportOf(rule: Rule, counts: readonly (readonly number[])[]): RuleReport {
  const transitions: { from: StatusName; to: StatusName; count: number }[] = [];
  let domainsChanged = 0;
  for (const [from, row] of counts.entries()) {
    for (const [to, count] of row.entries()) {
      if (count === 0) continue;
      domainsChanged += count;
      transitions.push({
        from: STATUS_NAMES[from as StatusCode],
        to: STATUS_NAMES[to as StatusCode],
        count,
      });
    }
  }
  return { rule, transitions, domainsChanged };
}

function timeOrNull(timeMs: number): string | null {
  return timeMs === 0 ? null : isoTime(timeMs);
}
