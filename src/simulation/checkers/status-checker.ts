/**
 * A status is what the rule makes of the counts beside it, or what an operator pinned. Holds the rules and overrides
 * that may be in force: each change is possible from when it was asked for, and alone once it is answered and nothing
 * else was asked for meanwhile. Only necessary conditions: never a false alarm.
 */

import { classify, type Rule, STATUS_NAMES, type StatusName } from "../../model/status.ts";
import type { DomainStatus } from "../../router/ingress.ts";
import type { SimWorld } from "../sim-world.ts";
import type { ChangeOutcome, OperatorChange } from "../workload.ts";

/** What a reading may be judged by: whatever was possible at any time while it was under way. */
export interface StatusMark {
  readonly rules: Set<Rule>;
  readonly overrides: Set<StatusName | null>;
  readonly domain: string;
}

interface Choice<T> {
  readonly value: T;
  readonly sent: number;
  /** Infinity while nobody has answered. */
  ended: number;
}

/** The values that one setting may have now. */
class Choices<T> {
  #choices: readonly Choice<T>[];
  #order = 0;

  constructor(value: T) {
    this.#choices = [{ value, sent: 0, ended: 0 }];
  }

  get values(): Set<T> {
    return new Set(this.#choices.map(({ value }) => value));
  }

  /** Asked for now; the answer is who wants to hear how it ended, once. */
  add(value: T): (outcome: ChangeOutcome) => void {
    const mine: Choice<T> = { value, sent: ++this.#order, ended: Number.POSITIVE_INFINITY };
    this.#choices = [...this.#choices, mine];
    return (outcome) => {
      mine.ended = ++this.#order;
      // What had ended before this one was asked for is overwritten by it.
      const isLeft = (other: Choice<T>): boolean =>
        outcome === "done" ? other.ended > mine.sent : outcome === "unknown" || other !== mine;
      this.#choices = this.#choices.filter(isLeft);
    };
  }
}

export class StatusChecker {
  readonly #world: SimWorld;
  readonly #rules: Choices<Rule>;
  readonly #overrides: Map<string, Choices<StatusName | null>> = new Map();
  readonly #marks: Set<StatusMark> = new Set();

  constructor(world: SimWorld, rule: Rule) {
    this.#world = world;
    this.#rules = new Choices(rule);
  }

  /** An operator asks for it now; the answer is who wants to hear how that ended, once. */
  changed(change: OperatorChange): (outcome: ChangeOutcome) => void {
    if (change.kind === "rule") {
      for (const mark of this.#marks) mark.rules.add(change.rule);
      return this.#rules.add(change.rule);
    }
    const { domain, status } = change;
    for (const mark of this.#marks) if (mark.domain === domain) mark.overrides.add(status);
    return this.#overridesOf(domain).add(status);
  }

  /** The rule that a node answers with. */
  checkRule(rule: Rule): void {
    const text = JSON.stringify(rule);
    const possible = [...this.#rules.values].map((value) => JSON.stringify(value));
    if (!possible.includes(text)) this.#world.fail("I16", `The rule is ${text}, which nobody set`);
  }

  begin(domain: string): StatusMark {
    const overrides = this.#overridesOf(domain).values;
    const mark: StatusMark = { domain, rules: this.#rules.values, overrides };
    this.#marks.add(mark);
    return mark;
  }

  /** `answer`: null when there was none. */
  end(mark: StatusMark, answer: DomainStatus | null): void {
    this.#marks.delete(mark);
    if (answer === null) return;
    const { domain, status, delivered, bounced, overridden, override } = answer;
    const pinned = override?.status ?? null;
    if (overridden !== (pinned !== null) || !mark.overrides.has(pinned)) {
      this.#world.fail("I16", `The override of ${domain} is ${pinned}, which nobody asked for`);
    }
    const derived = [...mark.rules].map((rule) => STATUS_NAMES[classify(rule, delivered, bounced)]);
    if (pinned === null ? derived.includes(status) : status === pinned) return;
    const counts = `${delivered} delivered, ${bounced} bounced`;
    this.#world.fail("I16", `${domain} is "${status}" with ${counts}, override ${pinned}`);
  }

  #overridesOf(domain: string): Choices<StatusName | null> {
    let choices = this.#overrides.get(domain);
    if (choices === undefined) {
      choices = new Choices<StatusName | null>(null);
      this.#overrides.set(domain, choices);
    }
    return choices;
  }
}
