/**
 * Compares what the service answers for every domain of a run with the oracle, and the status with the rule.
 * Invariant: never a false alarm (counts from before the run are taken off, maybes are allowed either way), and a
 * domain without a maybe must match exactly: one event lost or doubled fails it.
 */
import { classify, type Rule, STATUS_NAMES } from "../../model/status.ts";
import type { DomainNames } from "./domain-names.ts";
import type { DomainAnswer, LoadHttp } from "./load-http.ts";
import type { EventStream } from "./mixes.ts";
import type { Expectation, LoadOracle } from "./oracle.ts";

export interface WrongDomain {
  readonly domain: string;
  readonly expected: string;
  readonly actual: string;
}

export interface VerificationReport {
  readonly domains: number;
  /** Domains without a maybe, which must match exactly. */
  readonly exactDomains: number;
  readonly wrongDomains: number;
  /** Events missing below, and events above, what may be. */
  readonly lost: number;
  readonly doubled: number;
  readonly wrongStatuses: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly firstWrong: readonly WrongDomain[];
}

const LOOKUP_BATCH = 2000;
const FIRST_WRONG_MAX = 10;

/** Counts that the domains had before the run: two numbers a domain. */
export type Baseline = Uint32Array;
const NO_BASELINE: Baseline = new Uint32Array(0);

/** Domain numbers that the first `events` events of a stream use. The stream is used up: give a fresh one. */
export function domainsOf(stream: EventStream, events: number): readonly number[] {
  const seen = new Set<number>();
  for (let i = 0; i < events; i++) {
    stream.next();
    seen.add(stream.domain);
  }
  return [...seen].sort((a, b) => a - b);
}

export async function readBaseline(
  http: LoadHttp,
  names: DomainNames,
  domains: readonly number[],
): Promise<Baseline> {
  const baseline = new Uint32Array(((domains.at(-1) ?? -1) + 1) * 2);
  await eachAnswer(http, names, domains, (domain, answer) => {
    baseline[domain * 2] = answer?.delivered ?? 0;
    baseline[domain * 2 + 1] = answer?.bounced ?? 0;
  });
  return baseline;
}

export interface VerificationOptions {
  readonly http: LoadHttp;
  readonly names: DomainNames;
  readonly oracle: LoadOracle;
  readonly rule: Rule;
  readonly baseline?: Baseline;
  /** Of more domains than that only so many, evenly spread; default: all. */
  readonly samplesMax?: number;
}

/** Errors: what the lookup throws; an unreadable domain is a failure, not a wrong count. */
export async function verifyLoad(options: VerificationOptions): Promise<VerificationReport> {
  const { http, names, oracle, rule, samplesMax = Infinity } = options;
  const baseline = options.baseline ?? NO_BASELINE;
  const tally = new Tally(rule);
  const touched: number[] = [];
  for (let i = 0; i < oracle.domainsEnd; i++) if (oracle.isTouched(i)) touched.push(i);
  const sampled = spread(touched, samplesMax);
  await eachAnswer(http, names, sampled, (domain, answer, name) => {
    const before = {
      delivered: baseline[domain * 2] ?? 0,
      bounced: baseline[domain * 2 + 1] ?? 0,
    };
    tally.check({ name, expectation: oracle.expectationOf(domain), before, answer });
  });
  return tally.report();
}

function spread(domains: readonly number[], countMax: number): readonly number[] {
  if (domains.length <= countMax) return domains;
  const step = domains.length / countMax;
  return Array.from({ length: countMax }, (_, i) => domains[Math.floor(i * step)] as number);
}

async function eachAnswer(
  http: LoadHttp,
  names: DomainNames,
  domains: readonly number[],
  visit: (domain: number, answer: DomainAnswer | null, name: string) => void,
): Promise<void> {
  for (let start = 0; start < domains.length; start += LOOKUP_BATCH) {
    const batch = domains.slice(start, start + LOOKUP_BATCH);
    const batchNames = batch.map((domain) => names.nameOf(domain));
    const answers = await http.lookup(batchNames);
    for (let i = 0; i < batch.length; i++) {
      visit(batch[i] as number, answers[i] ?? null, batchNames[i] as string);
    }
  }
}

interface Checked {
  readonly name: string;
  readonly expectation: Expectation;
  readonly before: { readonly delivered: number; readonly bounced: number };
  readonly answer: DomainAnswer | null;
}

class Tally {
  readonly #rule: Rule;
  readonly #statuses: Record<string, number> = {};
  readonly #firstWrong: WrongDomain[] = [];
  #domains = 0;
  #exactDomains = 0;
  #wrongDomains = 0;
  #lost = 0;
  #doubled = 0;
  #wrongStatuses = 0;

  constructor(rule: Rule) {
    this.#rule = rule;
  }

  check(checked: Checked): void {
    const { expectation, before, answer } = checked;
    this.#domains++;
    if (expectation.maybeDelivered + expectation.maybeBounced === 0) this.#exactDomains++;
    const delivered = before.delivered + expectation.delivered;
    const bounced = before.bounced + expectation.bounced;
    const actual = answer ?? { delivered: 0, bounced: 0, status: "none", overridden: false };
    const below = Math.max(0, delivered - actual.delivered) + Math.max(0, bounced - actual.bounced);
    const above =
      Math.max(0, actual.delivered - delivered - expectation.maybeDelivered) +
      Math.max(0, actual.bounced - bounced - expectation.maybeBounced);
    this.#lost += below;
    this.#doubled += above;
    this.#statuses[actual.status] = (this.#statuses[actual.status] ?? 0) + 1;
    // The counts are in range or reported as such; the status must follow from the counts answered with it.
    const status = STATUS_NAMES[classify(this.#rule, actual.delivered, actual.bounced)];
    const isStatusWrong = !actual.overridden && actual.status !== status;
    if (isStatusWrong) this.#wrongStatuses++;
    if (below + above === 0 && !isStatusWrong) return;
    this.#wrongDomains++;
    if (this.#firstWrong.length >= FIRST_WRONG_MAX) return;
    const range = (low: number, maybe: number): string =>
      maybe === 0 ? String(low) : `${low}-${low + maybe}`;
    this.#firstWrong.push({
      domain: checked.name.toLowerCase(),
      expected:
        `delivered ${range(delivered, expectation.maybeDelivered)}, ` +
        `bounced ${range(bounced, expectation.maybeBounced)}, "${status}"`,
      actual: `delivered ${actual.delivered}, bounced ${actual.bounced}, "${actual.status}"`,
    });
  }

  report(): VerificationReport {
    return {
      domains: this.#domains,
      exactDomains: this.#exactDomains,
      wrongDomains: this.#wrongDomains,
      lost: this.#lost,
      doubled: this.#doubled,
      wrongStatuses: this.#wrongStatuses,
      statuses: this.#statuses,
      firstWrong: this.#firstWrong,
    };
  }
}
