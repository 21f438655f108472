/**
 * A node over ports in memory, with a clock that the test moves: the production assembly, nothing else.
 */

import { DomainParser } from "../../src/model/domain-name.ts";
import type { EventKind } from "../../src/model/event.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import type { EventOutcome } from "../../src/router/ingress.ts";
import type { OperatorControl } from "../../src/router/operator-control.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { Counter, Histogram, type Metrics } from "../../src/runtime/metrics.ts";
import type { Timers } from "../../src/runtime/timers.ts";
import {
  type AssembledNode,
  assembleNode,
  type NodeSettings,
} from "../../src/server/assemble-node.ts";
import { ServiceGate } from "../../src/server/service-gate.ts";
import { MemoryCheckpointStore } from "./memory-checkpoint-store.ts";
import { MemoryNodeLog } from "./memory-node-log.ts";

export class TestClock implements Clock {
  nowMs = 1_790_000_000_000;
  /** By how much the wall clock is off. */
  leapMs = 0;
  wallMs(): number {
    return this.nowMs + this.leapMs;
  }
  monotonicMs(): number {
    return this.nowMs;
  }
}

export const TEST_TIMERS: Timers = {
  after: () => ({ cancel: () => undefined }),
  soon: (work) => {
    setImmediate(work);
  },
};

export const NO_METRICS: Metrics = {
  counter: () => new Counter(),
  histogram: (_name, _help, bounds) => new Histogram(bounds),
  gauge: () => undefined,
  text: async () => ({ contentType: "text/plain", body: "" }),
};

/** What outlives a crash. */
export class TestWorld {
  readonly clock: TestClock = new TestClock();
  readonly log: MemoryNodeLog = new MemoryNodeLog();
  readonly checkpoints: MemoryCheckpointStore = new MemoryCheckpointStore();
  incarnation = 0;
  #random = 1;

  async start(settings: Partial<NodeSettings> = {}): Promise<TestNode> {
    this.incarnation++;
    const gate = new ServiceGate();
    const control = {
      rule: () => DEFAULT_RULE,
      readiness: () => ({ ready: true, reasons: [], checks: {}, node: "n1" }),
    } as unknown as OperatorControl;
    const failures: string[] = [];
    const assembled = await assembleNode(
      {
        clock: this.clock,
        timers: TEST_TIMERS,
        random: { uint32: () => (this.#random = (this.#random * 1_664_525 + 1_013_904_223) >>> 0) },
        log: this.log,
        checkpoints: this.checkpoints,
        logger: SILENT_LOGGER,
        metrics: NO_METRICS,
      },
      {
        nodeId: "n1",
        incarnation: this.incarnation,
        storeId: 7,
        partitions: 4,
        initialRule: DEFAULT_RULE,
        idempotencyWindowMs: 600_000,
        idempotencyKeysMax: 1000,
        checkpointIntervalMs: 60_000,
        logRetentionMs: 0,
        pendingEventsMax: 1000,
        ...settings,
      },
      {
        gate,
        createControl: () => control,
        onLogFailed: (reason) => failures.push(reason),
      },
    );
    gate.moveTo("serving");
    return new TestNode(assembled, gate, failures);
  }
}

export class TestNode {
  readonly assembled: AssembledNode;
  readonly gate: ServiceGate;
  readonly failures: readonly string[];
  readonly #parser = new DomainParser();

  constructor(assembled: AssembledNode, gate: ServiceGate, failures: readonly string[]) {
    this.assembled = assembled;
    this.gate = gate;
    this.failures = failures;
  }

  /** Submits one event and resolves to its outcome. */
  send(
    domain: string,
    kind: EventKind,
    options: { count?: number; id?: string } = {},
  ): Promise<EventOutcome> {
    const error = this.#parser.parseText(domain, false);
    if (error !== null) throw new Error(error);
    return new Promise((resolve) => {
      const reply = { settled: (_index: number, outcome: EventOutcome) => resolve(outcome) };
      const { count = 1, id = null } = options;
      this.assembled.router.submit(this.#parser, kind, count, id, reply, 0);
    });
  }

  async counts(domain: string): Promise<readonly [number, number, string]> {
    const status = await this.assembled.router.status(domain as never);
    return [status.delivered, status.bounced, status.status];
  }
}
