/**
 * Clients: events with and without ids through any node, tries again over another node, reads and lookups. They come
 * when they come (open loop), whatever the cluster does, and tell the oracle what they were answered.
 */

import { type DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import { BOUNCED, DELIVERED } from "../model/event.ts";
import { partitionOf } from "../model/partition-id.ts";
import type { Rule, StatusName } from "../model/status.ts";
import {
  type DomainStatus,
  type EventOutcome,
  type EventReply,
  REPLAYED,
} from "../router/ingress.ts";
import type { FaultPlan } from "./fault-plan.ts";
import type { Oracle, OracleEvent } from "./oracle.ts";
import type { SimLife } from "./sim-life.ts";
import type { ClusterNode, SimNode } from "./sim-node.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimWorld } from "./sim-world.ts";
import { afterWithin, type Stretch } from "./storms.ts";

/** Tries of one event; an id is tried again within a minute, far inside the window. */
const TRIES_MAX = 4;
const RETRY_MAX_MS = 10_000;
const LOOKUP_DOMAINS = 5;
/** Between two tries of a probe. */
const PROBE_PAUSE_MS = 500;
/** Share of acknowledged events whose domain is read at once. */
const READ_BACKS = 0.2;

export type WorkloadPlan = Pick<
  FaultPlan,
  | "partitions"
  | "domains"
  | "isSkewed"
  | "weather"
  | "clientGapMs"
  | "calmClientGapMs"
  | "reads"
  | "keyed"
  | "changeGapMs"
>;

/** What an operator asks for; a status of null takes the override away. */
export type OperatorChange =
  | { readonly kind: "rule"; readonly rule: Rule }
  | { readonly kind: "override"; readonly domain: string; readonly status: StatusName | null };
export type ChangeOutcome = "done" | "none" | "unknown";

export interface WorkloadOptions {
  readonly world: SimWorld;
  readonly plan: WorkloadPlan;
  readonly nodes: readonly SimNode[];
  readonly oracle: Oracle;
  /** Told of each change as it is asked for; what it answers is told once how that ended. */
  readonly changed?: (change: OperatorChange) => (outcome: ChangeOutcome) => void;
}

export class Workload {
  readonly #world: SimWorld;
  readonly #plan: WorkloadPlan;
  readonly #nodes: readonly SimNode[];
  readonly #oracle: Oracle;
  readonly #random: SimRandom;
  readonly #parser: DomainParser = new DomainParser();
  readonly #domains: readonly DomainName[];
  /** Tries in the hands of a life: unknown when it dies. */
  readonly #tries: Map<SimLife, Set<Try>> = new Map();
  readonly errors: Map<string, number> = new Map();
  readonly #changed: (change: OperatorChange) => (outcome: ChangeOutcome) => void;
  #isEnded = false;
  #ids = 0;
  readonly #changes: SimRandom;
  readonly #readBacks: SimRandom;
  /** Changes by operators that are not answered. */
  changesOutstanding = 0;
  /** Probes that are not acknowledged yet. */
  probesLeft = 0;

  constructor({ world, plan, nodes, oracle, changed }: WorkloadOptions) {
    this.#changed = changed ?? (() => () => undefined);
    this.#world = world;
    this.#plan = plan;
    this.#nodes = nodes;
    this.#oracle = oracle;
    this.#random = world.random("workload");
    this.#changes = world.random("workload/changes");
    this.#readBacks = world.random("workload/read backs");
    this.#domains = Array.from({ length: plan.domains }, (_, i) => this.#nameOf(`d${i}.example`));
  }

  start(): void {
    const { weather, clientGapMs, calmClientGapMs } = this.#plan;
    this.#startEvents(this.#random, weather.storms, clientGapMs);
    if (weather.calms.length > 0) {
      this.#startEvents(this.#world.random("workload/calm"), weather.calms, calmClientGapMs);
    }
    if (this.#plan.changeGapMs > 0) this.#startChanges();
  }

  #startChanges(): void {
    const gapMs = this.#changes.exponential(this.#plan.changeGapMs);
    this.#world.at(afterWithin(this.#plan.weather.storms, this.#world.nowMs, gapMs), () => {
      if (this.#isEnded) return;
      this.#change();
      this.#startChanges();
    });
  }

  #startEvents(random: SimRandom, stretches: readonly Stretch[], gapMs: number): void {
    const atMs = afterWithin(stretches, this.#world.nowMs, random.exponential(gapMs));
    this.#world.at(atMs, () => {
      if (this.#isEnded) return;
      this.#operate();
      this.#startEvents(random, stretches, gapMs);
    });
  }

  /** No new operations; tries again end as well. */
  end(): void {
    this.#isEnded = true;
  }

  #operate(): void {
    if (this.#random.chance(this.#plan.reads)) {
      const isLookup = this.#random.chance(0.2);
      const count = isLookup ? LOOKUP_DOMAINS : 1;
      const domains = Array.from({ length: count }, () => this.#pickDomain());
      this.read([...new Set(domains)]);
      return;
    }
    const isKeyed = this.#random.chance(this.#plan.keyed);
    const kind = this.#random.chance(0.8) ? DELIVERED : BOUNCED;
    const count = this.#random.chance(0.8) ? 1 : 1 + this.#random.below(50);
    const eventId = isKeyed ? `id-${++this.#ids}` : null;
    const event = this.#oracle.event(this.#pickDomain(), kind, count, eventId);
    this.#try(event);
    // A client that sends twice without waiting.
    if (isKeyed && this.#random.chance(0.2)) this.#try(event);
  }

  /** I20: an event for each partition through each of these nodes, again until it is acknowledged. */
  probe(nodes: readonly SimNode[]): void {
    const byPartition = new Map<number, DomainName>();
    for (const domain of this.#domains) {
      this.#parser.parseText(domain, false);
      byPartition.set(partitionOf(this.#parser.hash, this.#plan.partitions), domain);
    }
    for (const node of nodes) {
      for (const domain of byPartition.values()) {
        this.probesLeft++;
        this.#probe(node, domain);
      }
    }
  }

  #probe(node: SimNode, domain: DomainName): void {
    let isAsked = false;
    const again = (): void => this.#world.after(PROBE_PAUSE_MS, () => this.#probe(node, domain));
    node.life?.run(() => {
      if (node.current === null || node.life === null) return;
      isAsked = true;
      const event = this.#oracle.event(domain, DELIVERED, 1, null);
      this.#submit(event, node.current, node.life, (isAcked) => {
        if (isAcked) this.probesLeft--;
        else again();
      });
    });
    if (!isAsked) again();
  }

  /** What an operator does: another rule, an override, its removal. Whether it is in, the logs say. */
  #change(): void {
    const random = this.#changes;
    const serving = this.#nodes.filter((node) => node.current !== null);
    const node = serving.length === 0 ? null : random.pick(serving);
    const domain = random.pick(this.#domains);
    const kind = random.below(3);
    const status = random.pick(["catch-all", "not catch-all"] as const);
    const rule = {
      deliveredThreshold: random.pick([1, 5, 50, 1000]),
      bouncedThreshold: random.pick([1, 3, 20]),
      maxBounceRatio: random.pick([null, 0.3]),
    };
    node?.life?.run(() => {
      const router = node.current?.router;
      // Of each its own: found twice in the logs, it was done twice.
      const by = `operator ${++this.#ids}`;
      let asked: Promise<unknown> | undefined;
      let change: OperatorChange = { kind: "rule", rule };
      if (kind === 0) {
        asked = router?.setRule?.(rule, by);
      } else if (kind === 1) {
        change = { kind: "override", domain, status };
        asked = router?.setOverride?.(domain, { status, reason: "pinned" }, by);
      } else {
        change = { kind: "override", domain, status: null };
        asked = router?.removeOverride?.(domain, by);
      }
      if (asked !== undefined) this.#awaitChange(node, asked, this.#changed(change));
    });
  }

  #awaitChange(
    node: SimNode,
    asked: Promise<unknown>,
    told: (outcome: ChangeOutcome) => void,
  ): void {
    const { life } = node;
    if (life === null) return;
    this.changesOutstanding++;
    let isDone = false;
    const done = (outcome: ChangeOutcome): void => {
      if (isDone) return;
      isDone = true;
      this.changesOutstanding--;
      told(outcome);
    };
    life.onDeath.push(() => done("unknown"));
    const succeeded = (): void => done("done");
    asked.then(succeeded, (error: unknown) => {
      done(error instanceof CatchallError ? error.effect : "unknown");
      this.#count(error instanceof CatchallError ? `change ${error.code}` : String(error));
      if (!(error instanceof CatchallError)) life.crash(error);
    });
  }

  #try(event: OracleEvent): void {
    const node = this.#pickNode();
    const life = node?.life ?? null;
    if (node === null || life === null) return;
    // A request that reaches nobody was never sent.
    life.run(() => {
      const { current } = node;
      if (current !== null) this.#submit(event, current, life);
    });
  }

  #submit(
    event: OracleEvent,
    node: ClusterNode,
    life: SimLife,
    told: (isAcked: boolean) => void = () => undefined,
  ): void {
    const attempt = new Try((outcome) => {
      this.#tries.get(life)?.delete(attempt);
      this.#settled(event, outcome);
      told(outcome !== null && !(outcome instanceof CatchallError));
    });
    this.#triesOf(life).add(attempt);
    this.#oracle.sent(event);
    if (this.#parser.parseText(event.domain, false) !== null) return;
    node.router.submit(this.#parser, event.kind, event.count, event.eventId, attempt, 0);
  }

  #settled(event: OracleEvent, outcome: EventOutcome | null): void {
    if (outcome === null) this.#oracle.unknown(event);
    else if (!(outcome instanceof CatchallError)) this.#oracle.acked(event, outcome === REPLAYED);
    else {
      this.#count(outcome.code);
      if (outcome.effect === "unknown") this.#oracle.unknown(event);
      else this.#oracle.none(event);
    }
    const isError = outcome === null || outcome instanceof CatchallError;
    // Whoever is asked next must know of it.
    if (!isError && this.#readBacks.chance(READ_BACKS)) {
      this.read([event.domain as DomainName], this.#pickBystander());
    }
    const isDuplicate = !isError && this.#random.chance(0.2);
    if (event.eventId === null || this.#isEnded || event.tries >= TRIES_MAX) return;
    if (!isError && !isDuplicate) return;
    this.#world.after(this.#random.unit() * RETRY_MAX_MS, () => {
      if (!this.#isEnded) this.#try(event);
    });
  }

  /** Reads through a random node, or the one given; `check` sees what was answered. */
  read(
    domains: readonly DomainName[],
    through: SimNode | null = null,
    check: (status: DomainStatus) => void = () => undefined,
    failed: () => void = () => undefined,
  ): void {
    const node = through ?? this.#pickNode();
    node?.life?.run(() => {
      const { current } = node;
      if (current === null) {
        failed();
        return;
      }
      const marks = domains.map((domain) => this.#oracle.readBegins(domain));
      const asked =
        domains.length === 1
          ? current.router.status(domains[0] as DomainName).then((status) => [status])
          : current.router.statuses(domains);
      asked.then(
        (statuses) => {
          for (const [i, mark] of marks.entries()) {
            const status = statuses[i] as DomainStatus;
            this.#oracle.readEnds(mark, status.delivered, status.bounced, `n${node.machine.index}`);
            check(status);
          }
        },
        (error: unknown) => {
          this.#count(error instanceof CatchallError ? `read ${error.code}` : String(error));
          if (!(error instanceof CatchallError)) node.life?.crash(error);
          failed();
        },
      );
    });
  }

  get domains(): readonly DomainName[] {
    return this.#domains;
  }

  #triesOf(life: SimLife): Set<Try> {
    let tries = this.#tries.get(life);
    if (tries === undefined) {
      const created = new Set<Try>();
      tries = created;
      this.#tries.set(life, tries);
      life.onDeath.push(() => {
        for (const attempt of [...created]) attempt.broken();
        this.#tries.delete(life);
      });
    }
    return tries;
  }

  #pickBystander(): SimNode | null {
    const serving = this.#nodes.filter((node) => node.current !== null);
    return serving.length === 0 ? null : this.#readBacks.pick(serving);
  }

  #pickNode(): SimNode | null {
    const serving = this.#nodes.filter((node) => node.current !== null);
    return serving.length === 0 ? null : this.#random.pick(serving);
  }

  #pickDomain(): DomainName {
    const { length } = this.#domains;
    const unit = this.#random.unit();
    const index = Math.floor((this.#plan.isSkewed ? unit ** 3 : unit) * length);
    return this.#domains[index] as DomainName;
  }

  #nameOf(text: string): DomainName {
    this.#parser.parseText(text, false);
    return this.#parser.name();
  }

  #count(code: string): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }
}

/** One try at one node; settled once, by the node or by its death (null). */
class Try implements EventReply {
  readonly #done: (outcome: EventOutcome | null) => void;
  #isDone = false;

  constructor(done: (outcome: EventOutcome | null) => void) {
    this.#done = done;
  }

  settled(_index: number, outcome: EventOutcome): void {
    this.#settle(outcome);
  }

  broken(): void {
    if (!this.#isDone) this.#settle(null);
  }

  #settle(outcome: EventOutcome | null): void {
    if (this.#isDone) throw new Error("An event was settled twice");
    this.#isDone = true;
    this.#done(outcome);
  }
}
