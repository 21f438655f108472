/**
 * The one way in for every surface: events to their partition, reads to their owner, changes to the log.
 * Invariant: no answer comes from anywhere but the owner's memory, and none after this node may no longer serve.
 */

import type { DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import type { EventKind } from "../model/event.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
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
import type { StatusChange } from "../model/status-change.ts";
import type { HostTotals, PartitionHost } from "../partition/partition-host.ts";
import type { StateChange } from "../partition/partition-state.ts";
import { SECTION_OVERRIDE, SECTION_RESET } from "../partition/section-codec.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Timers } from "../runtime/timers.ts";
import { TurnBudget } from "../runtime/turn-budget.ts";
import type { ChangeBroadcast } from "./change-broadcast.ts";
import type { EventRouter } from "./event-router.ts";
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
  Totals,
} from "./ingress.ts";
import { decodeCursor, encodeCursor } from "./listing-cursor.ts";
import { LocalAnswers } from "./local-answers.ts";
import type { OperatorControl } from "./operator-control.ts";
import type { OwnerAnswers, OwnerReading } from "./owner-answers.ts";

/** How long one lookup of many may hold the event loop, ms. */
const TURN_MS = 4;

export interface RouterOptions {
  readonly nodeId: string;
  readonly host: PartitionHost;
  /** Who answers about domains; absent: this node is alone, its host knows everything. */
  readonly answers?: OwnerAnswers;
  /** Carries status changes between nodes; absent: there are no others. */
  readonly broadcast?: ChangeBroadcast;
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
  readonly #answers: OwnerAnswers;
  readonly #listeners: Set<(change: StatusChange) => void> = new Set();

  constructor(options: RouterOptions) {
    this.#options = options;
    this.nodeId = options.nodeId;
    this.pendingEventsMax = options.pendingEventsMax;
    this.#answers = options.answers ?? new LocalAnswers(options);
    options.broadcast?.listen((change) => this.#tell(change));
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
    const found = this.#answers.read(domain);
    return viewOf(found instanceof Promise ? await found : found);
  }

  async statuses(domains: readonly DomainName[]): Promise<DomainStatus[]> {
    const { clock, timers } = this.#options;
    const budget = new TurnBudget(clock, TURN_MS);
    const views: (DomainStatus | Promise<DomainStatus>)[] = [];
    for (const domain of domains) {
      // Each reading is of its own turn, checked in that turn, and of a time after the question.
      if (views.length % 4 === 3 && budget.isSpent()) await budget.nextTurn(timers);
      const found = this.#answers.read(domain);
      const view = found instanceof Promise ? found.then(viewOf) : viewOf(found);
      // A failure is told by the wait below; until then it is nobody's, and must not end the process.
      if (view instanceof Promise) view.catch(() => undefined);
      views.push(view);
    }
    return Promise.all(views);
  }

  async page(query: {
    readonly status: StatusName | null;
    readonly cursor: string | null;
    readonly limit: number;
  }): Promise<DomainPage> {
    const after = query.cursor === null ? null : decodeCursor(query.cursor);
    const { readings, next } = await this.#answers.list(query.status, after, query.limit);
    return { items: readings.map(viewOf), nextCursor: next === null ? null : encodeCursor(next) };
  }

  async stats(): Promise<Stats> {
    const nodes = (await this.#answers.totals()).map((row) => ({
      ...statsOf(row),
      node: row.node,
    }));
    const sum = nodes.reduce(addStats, EMPTY_STATS);
    return { ...sum, nodes, asOf: isoTime(this.#options.clock.wallMs()) };
  }

  rule(): Rule {
    return this.#options.control.rule();
  }

  async tryRule(rule: Rule): Promise<RuleReport> {
    return reportOf(rule, await this.#answers.tryRule(rule));
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
    await this.#answers.change({ kind: SECTION_OVERRIDE, domain, override, by });
    this.#options.logger.info({ by, domain, status: override.status }, "Override set");
    try {
      return await this.status(domain);
    } catch (cause) {
      // The override is durable: an error that says "effect none" would not be true.
      throw new CatchallError(
        "outcome_unknown",
        "The override is set, its domain can't be read now",
        {
          cause,
        },
      );
    }
  }

  async removeOverride(domain: DomainName, by: string): Promise<void> {
    this.#assertAdmitting();
    if ((await this.#answers.read(domain)).reading.override === undefined) {
      throw new CatchallError("override_not_found");
    }
    await this.#answers.change({ kind: SECTION_OVERRIDE, domain, override: null, by });
    this.#options.logger.info({ by, domain }, "Override removed");
  }

  async reset(domain: DomainName, by: string): Promise<void> {
    this.#assertAdmitting();
    const before = (await this.#answers.read(domain)).reading;
    await this.#answers.change({ kind: SECTION_RESET, domain, by });
    const { delivered, bounced } = before;
    this.#options.logger.info({ by, domain, delivered, bounced }, "Counts reset");
  }

  onStatusChange(listener: (change: StatusChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells the listeners of a change that was applied. Called by the partitions. */
  announce(change: StateChange): void {
    const { broadcast } = this.#options;
    if (this.#listeners.size === 0 && broadcast === undefined) return;
    const told = statusChangeOf(change);
    this.#tell(told);
    broadcast?.tell(told);
  }

  #tell(change: StatusChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
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

  async cancelRebalance(id: string): Promise<RebalanceProgress> {
    this.#assertAdmitting();
    return this.#options.control.cancelRebalance(id);
  }

  async drain(node: string): Promise<RebalancePlan> {
    this.#assertAdmitting();
    return this.#options.control.drain(node);
  }

  async importChunk(chunk: ImportChunk, by: string): Promise<ImportReport> {
    this.#assertAdmitting();
    const added = await this.#answers.importChunk(chunk, by);
    return { domains: chunk.domains.length, added };
  }

  #assertAdmitting(): void {
    const refusal = this.#options.refusal();
    if (refusal !== null) throw refusal;
  }
}

function viewOf({ reading, node, asOfMs }: OwnerReading): DomainStatus {
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
    node,
    asOf: isoTime(asOfMs),
  };
  if (override === undefined) return view;
  const { status, reason, by, atMs } = override;
  return { ...view, override: { status, reason, by, at: isoTime(atMs) } };
}

const EMPTY_STATS: Totals = {
  domains: { "catch-all": 0, "not catch-all": 0, unknown: 0 },
  delivered: 0,
  bounced: 0,
};

function statsOf({ delivered, bounced, byStatus }: HostTotals): Totals {
  return {
    domains: {
      "catch-all": byStatus[STATUS_CATCH_ALL],
      "not catch-all": byStatus[STATUS_NOT_CATCH_ALL],
      unknown: byStatus[STATUS_UNKNOWN],
    },
    delivered,
    bounced,
  };
}

function addStats(a: Totals, b: Totals): Totals {
  return {
    domains: {
      "catch-all": a.domains["catch-all"] + b.domains["catch-all"],
      "not catch-all": a.domains["not catch-all"] + b.domains["not catch-all"],
      unknown: a.domains.unknown + b.domains.unknown,
    },
    delivered: a.delivered + b.delivered,
    bounced: a.bounced + b.bounced,
  };
}

/** Must be called in the tick of the change: names and counts are read from the table. */
export function statusChangeOf(change: StateChange): StatusChange {
  const { epoch, incarnation, sequence } = change.position;
  const name = change.table.name(change.entry);
  const place = change.isOfRule ? `${change.ordinal}-${name}` : change.ordinal;
  return {
    id: `${epoch}-${incarnation}-${sequence}-${change.partition}-${place}`,
    domain: name,
    from: STATUS_NAMES[change.from],
    to: STATUS_NAMES[change.to],
    delivered: change.table.delivered(change.entry),
    bounced: change.table.bounced(change.entry),
    at: isoTime(change.timeMs),
  };
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
