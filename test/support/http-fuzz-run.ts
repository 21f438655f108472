/**
 * A node over a log in memory and, in the same process, clients that send it mutated requests over connections that they keep
 * where an honest client could. Laws, looked at every LAW_EVERY requests: counted = acknowledged; every answer is
 * declared; what is one whole request is answered in time; requests of honest clients beside it count exactly.
 * What nobody can be told is counted apart: requests whose connection `--http uws` cuts because of bytes behind them
 * (docs/http-limits.md), and requests behind an event stream on one connection, whose answers wait for its end.
 */
import type { Router } from "../../src/router/router.ts";
import { FuzzLane } from "./http-fuzz-lane.ts";
import { HonestClient } from "./http-honest-client.ts";
import { AnswerJudge, acknowledgedBy } from "./http-judge.ts";
import { type Mutant, mutantOf, randomOf } from "./http-mutations.ts";
import { readStrictly } from "./http-reading.ts";
import { listenWith, surfaceOver } from "./served-surface.ts";
import { TestWorld } from "./test-node.ts";

export interface FuzzOptions {
  readonly kind: "uws" | "node";
  readonly requests: number;
  readonly seed: number;
  readonly onProgress?: (report: FuzzReport) => void;
}

export interface FuzzReport {
  readonly kind: string;
  sent: number;
  /** Of them those that can be read as one whole request only. */
  whole: number;
  honest: number;
  acknowledged: number;
  counted: number;
  /** Events that may have been counted and could not be acknowledged: behind a stream, or cut by uWebSockets.js. */
  cutMax: number;
  /** Connections that got no answer and were given up by the client. */
  unanswered: number;
  readonly answers: Record<string, number>;
  /** The first few sentences about what was wrong, and how many there were. */
  readonly faults: string[];
  faultCount: number;
  cpuSeconds: number;
}

const LANES = 96;
const LAW_EVERY = 10_000;
const FAULTS_SHOWN_MAX = 10;

export async function runHttpFuzz(options: FuzzOptions): Promise<FuzzReport> {
  const node = await new TestWorld().start({
    idempotencyKeysMax: 100_000,
    pendingEventsMax: 100_000,
  });
  const { router } = node.assembled;
  const run = new FuzzRun(options, router);
  const listening = await listenWith(surfaceOver({ ingress: router }), {
    kind: options.kind,
    onError: (error) => run.fault(`a handler failed: ${String(error)}`, null),
    requestDeadlineMs: 10_000,
    bodyDeadlineMs: 10_000,
  });
  try {
    return await run.over(listening.port);
  } finally {
    await listening.close();
  }
}

interface Sent {
  readonly mutant: Mutant;
  readonly acknowledged: number;
  /** No answer could come to some of it. */
  readonly isOpen: boolean;
}

class FuzzRun {
  readonly report: FuzzReport;
  readonly #options: FuzzOptions;
  readonly #router: Router;
  /** What was sent since the law was looked at last, by the name in its domain. */
  readonly #recent: Map<string, Sent> = new Map();
  readonly #judge: AnswerJudge;

  constructor(options: FuzzOptions, router: Router) {
    const { kind } = options;
    this.#options = options;
    this.#router = router;
    this.#judge = new AnswerJudge(kind);
    const none = { sent: 0, whole: 0, honest: 0, acknowledged: 0, counted: 0, cutMax: 0 };
    this.report = {
      kind,
      ...none,
      unanswered: 0,
      answers: {},
      faults: [],
      faultCount: 0,
      cpuSeconds: 0,
    };
  }

  async over(port: number): Promise<FuzzReport> {
    const { requests, seed, kind, onProgress } = this.#options;
    const random = randomOf(seed + (kind === "uws" ? 0 : 1));
    const startedCpu = process.cpuUsage();
    const honest = new HonestClient(port);
    const lanes = Array.from({ length: LANES }, () => new FuzzLane(port, () => honest.roundTrip()));
    const serving = honest.run();
    while (this.report.sent < requests) {
      const until = Math.min(requests, this.report.sent + LAW_EVERY);
      await Promise.all(
        lanes.map(async (lane) => {
          while (this.report.sent < until) {
            const id = String(this.report.sent).padStart(7, "0");
            // Twice: one changed byte makes no other's name of it.
            const name = `q${id}x${id}`;
            await this.#send(lane, name, mutantOf(random, name));
          }
        }),
      );
      await this.#checkLaw(honest);
      const { user, system } = process.cpuUsage(startedCpu);
      this.report.cpuSeconds = (user + system) / 1e6;
      onProgress?.(this.report);
    }
    for (const lane of lanes) lane.close();
    honest.stop();
    await serving;
    return this.report;
  }

  fault(sentence: string, mutant: Mutant | null): void {
    this.report.faultCount++;
    if (this.report.faults.length >= FAULTS_SHOWN_MAX) return;
    const shown =
      mutant === null
        ? ""
        : `: ${mutant.operators.join(", ")}: ${JSON.stringify(mutant.pieces).slice(0, 600)}`;
    this.report.faults.push(sentence + shown);
  }

  async #send(lane: FuzzLane, name: string, mutant: Mutant): Promise<void> {
    const { report } = this;
    report.sent++;
    const text = mutant.pieces.join("");
    const strict = readStrictly(text);
    if (strict !== null) report.whole++;
    const outcome = await lane.send(mutant.pieces, strict);
    let acknowledged = 0;
    for (const answer of outcome.answers) {
      const label = this.#judge.isOfLibrary(answer) ? `${answer.status} html` : `${answer.status}`;
      report.answers[label] = (report.answers[label] ?? 0) + 1;
      acknowledged += acknowledgedBy(answer);
      const isSplitByUws = mutant.pieces.length > 1 && this.#judge.isOfLibrary(answer);
      const sentence = isSplitByUws ? null : this.#judge.faultOf(answer, strict);
      if (sentence !== null) this.fault(sentence, mutant);
    }
    report.acknowledged += acknowledged;
    if (outcome.answers.length === 0) report.unanswered++;
    if (outcome.fault !== null) this.fault(outcome.fault, mutant);
    if (strict !== null && outcome.answers.length !== 1) {
      this.fault(`${outcome.answers.length} answers to one whole request`, mutant);
    }
    const isCutByUws = outcome.isCut && report.kind === "uws";
    const isOpen = strict === null && (isCutByUws || outcome.isStreaming);
    this.#recent.set(name, { mutant, acknowledged, isOpen });
    if (isOpen) {
      report.cutMax += Math.max(0, eventsIn(text) - acknowledged);
    }
  }

  async #checkLaw(honest: HonestClient): Promise<void> {
    const { report } = this;
    await honest.pause();
    const { delivered, bounced } = await this.#router.stats();
    report.honest = honest.sent;
    report.counted = delivered + bounced - honest.sent;
    const { acknowledged, counted, cutMax } = report;
    if (counted < acknowledged || counted > acknowledged + cutMax) {
      this.fault(
        `${counted} counted, ${acknowledged} acknowledged, ${cutMax} without an answer`,
        null,
      );
    }
    await this.#checkEach();
    this.#recent.clear();
    for (const [domain, count] of honest.acknowledged) {
      const status = await this.#router.status(domain as never);
      if (status.delivered !== count) {
        this.fault(`${domain} has ${status.delivered}, its client was told ${count}`, null);
      }
    }
    for (const fault of honest.faults.splice(0)) this.fault(fault, null);
    honest.resume();
  }

  /** What was answered counted no more than its answer says. (Less: it may have named another domain.) */
  async #checkEach(): Promise<void> {
    for (const [name, { mutant, acknowledged, isOpen }] of this.#recent) {
      if (isOpen) continue;
      const { delivered, bounced } = await this.#router.status(`${name}.example` as never);
      const counted = delivered + bounced;
      if (counted > acknowledged) this.fault(`${counted} counted, not ${acknowledged}`, mutant);
    }
  }
}

/** No reading of the bytes has more events than this. */
function eventsIn(text: string): number {
  const paths = text.match(/\/events\/[^ ]*(delivered|bounced)/g)?.length ?? 0;
  return paths + (text.match(/domain/g)?.length ?? 0);
}
