/**
 * A node over a log in memory and, in the same process, clients that send it mutated requests over connections that they
 * keep where an honest client could. Laws, looked at every LAW_EVERY requests: counted = acknowledged, for each request
 * and each domain (http-counting-law.ts); what was not changed is acknowledged; every answer is declared; what is one
 * whole request is answered in time; requests of honest clients beside it count exactly.
 * What nobody can be told is said apart: events whose answer was not seen (http-unseen.ts).
 */
import type { DomainName } from "../../src/model/domain-name.ts";
import type { Ingress } from "../../src/router/ingress.ts";
import { CountingLaw } from "./http-counting-law.ts";
import { FuzzLane } from "./http-fuzz-lane.ts";
import { HonestClient } from "./http-honest-client.ts";
import { IngressWitness } from "./http-ingress-witness.ts";
import { AnswerJudge, acknowledgedBy, isOverloaded } from "./http-judge.ts";
import { type Mutant, mutantOf, randomOf } from "./http-mutations.ts";
import { readStrictly } from "./http-reading.ts";
import { eventsIn, unseenEventsMax } from "./http-unseen.ts";
import { listenWith, surfaceOver } from "./served-surface.ts";
import { TestWorld } from "./test-node.ts";

export interface FuzzOptions {
  readonly kind: "uws" | "node";
  readonly requests: number;
  readonly seed: number;
  readonly onProgress?: (report: FuzzReport) => void;
  /** Defects put in, by a test of the laws: into the node, and into what stands in front of it. */
  readonly routerDefect?: (ingress: Ingress) => Ingress;
  readonly surfaceDefect?: (ingress: Ingress) => Ingress;
}

export interface FuzzReport {
  readonly kind: "uws" | "node";
  sent: number;
  /** Of them those that can be read as one whole request only. */
  whole: number;
  honest: number;
  acknowledged: number;
  /** = acknowledged + unseenCounted. */
  counted: number;
  /** Requests that may have counted events whose answer was not seen, those events, and how many of them counted. */
  unseenRequests: number;
  unseenMax: number;
  unseenCounted: number;
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
/** Round trips within which what was submitted is settled. */
const TURNS_MAX = 1000;

export async function runHttpFuzz(options: FuzzOptions): Promise<FuzzReport> {
  const node = await new TestWorld().start({
    idempotencyKeysMax: 100_000,
    pendingEventsMax: 100_000,
  });
  const { router } = node.assembled;
  const witness = new IngressWitness(options.routerDefect?.(router) ?? router);
  const run = new FuzzRun(options, witness);
  const ingress = options.surfaceDefect?.(witness.ingress) ?? witness.ingress;
  const listening = await listenWith(surfaceOver({ ingress }), {
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

/** All that a run of this seed sends, in its order. */
export function* mutantsOf(
  kind: "uws" | "node",
  seed: number,
): Generator<{ readonly name: string; readonly mutant: Mutant }, never> {
  const random = randomOf(seed + (kind === "uws" ? 0 : 1));
  for (let index = 0; ; index++) {
    const id = String(index).padStart(7, "0");
    // Twice: one changed byte makes no other's name of it.
    const name = `q${id}x${id}`;
    yield { name, mutant: mutantOf(random, name) };
  }
}

class FuzzRun {
  readonly report: FuzzReport;
  readonly #options: FuzzOptions;
  readonly #witness: IngressWitness;
  readonly #law: CountingLaw;
  readonly #judge: AnswerJudge;

  constructor(options: FuzzOptions, witness: IngressWitness) {
    const { kind } = options;
    this.#options = options;
    this.#witness = witness;
    this.#law = new CountingLaw(witness, (sentence, mutant) => this.fault(sentence, mutant));
    this.#judge = new AnswerJudge(kind);
    this.report = {
      kind,
      ...{ sent: 0, whole: 0, honest: 0, acknowledged: 0, counted: 0 },
      ...{ unseenRequests: 0, unseenMax: 0, unseenCounted: 0, unanswered: 0 },
      answers: {},
      faults: [],
      faultCount: 0,
      cpuSeconds: 0,
    };
  }

  async over(port: number): Promise<FuzzReport> {
    const { requests, seed, kind, onProgress } = this.#options;
    const mutants = mutantsOf(kind, seed);
    const startedCpu = process.cpuUsage();
    const honest = new HonestClient(port);
    const lanes = Array.from({ length: LANES }, () => new FuzzLane(port, () => honest.roundTrip()));
    const serving = honest.run();
    while (this.report.sent < requests) {
      const until = Math.min(requests, this.report.sent + LAW_EVERY);
      await Promise.all(
        lanes.map(async (lane) => {
          while (this.report.sent < until) {
            const { name, mutant } = mutants.next().value;
            await this.#send(lane, name, mutant);
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
    const isUnchanged = mutant.operators.length === 0;
    if (isUnchanged && !outcome.answers.some(isOverloaded) && acknowledged !== eventsIn(text)) {
      this.fault(`${acknowledged} acknowledged of ${eventsIn(text)}`, mutant);
    }
    // Who reads it in one way only has its answer, or the fault above.
    const judged = { kind: report.kind, judge: this.#judge };
    const unseenMax = strict === null ? unseenEventsMax(text, outcome, judged) : 0;
    if (unseenMax > 0) report.unseenRequests++;
    report.unseenMax += unseenMax;
    this.#law.add(name, { mutant, acknowledged, unseenMax });
  }

  async #checkLaw(honest: HonestClient): Promise<void> {
    const { report } = this;
    await this.#untilSettled(honest);
    await honest.pause();
    const sums = await this.#law.check((domain) => honest.acknowledged.has(domain));
    report.honest = honest.sent;
    report.counted = sums.total - honest.sent;
    report.unseenCounted += sums.unseenCounted;
    const { acknowledged, counted, unseenCounted } = report;
    if (counted !== acknowledged + unseenCounted) {
      const sentence = `${counted} counted, ${acknowledged} acknowledged, ${unseenCounted} unseen`;
      this.fault(sentence, null);
    }
    for (const [domain, count] of honest.acknowledged) {
      const status = await this.#witness.ingress.status(domain as DomainName);
      if (status.delivered !== count) {
        this.fault(`${domain} has ${status.delivered}, its client was told ${count}`, null);
      }
    }
    for (const fault of honest.faults.splice(0)) this.fault(fault, null);
    honest.resume();
  }

  /** Requests of clients that have gone may still be under way: until others that began after them have been counted. */
  async #untilSettled(honest: HonestClient): Promise<void> {
    for (let i = 0; i < TURNS_MAX; i++) {
      await honest.roundTrip();
      if (i > 0 && this.#witness.outstanding === 0) return;
    }
    this.fault(`${this.#witness.outstanding} events were never settled`, null);
  }
}
