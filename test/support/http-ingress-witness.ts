/**
 * Stands between the HTTP surface and the ingress and writes down, by domain, what the ingress settled as counted: what
 * must be found there afterwards, no more and no less, whatever became of the answer on its way to the client.
 * Invariant: passes every call and every outcome on unchanged.
 */
import type { DomainParser } from "../../src/model/domain-name.ts";
import { DELIVERED, type EventKind } from "../../src/model/event.ts";
import { COMMITTED, type EventReply, type Ingress, REPLAYED } from "../../src/router/ingress.ts";

export interface Counts {
  delivered: number;
  bounced: number;
}

export class IngressWitness {
  readonly ingress: Ingress;
  /** Of domains that were not forgotten. */
  readonly settled: Map<string, Counts> = new Map();
  settledCount = 0;
  /** Submitted and not yet settled. */
  outstanding = 0;
  /** Settled as "may or may not be counted": a node over ports that do not fail has no reason to. */
  unknownCount = 0;

  constructor(ingress: Ingress) {
    this.ingress = ingressWith(ingress, (domain, kind, count, eventId, reply, index) => {
      const name = domain.name();
      this.outstanding++;
      const witnessed: EventReply = {
        settled: (settledIndex, outcome) => {
          this.outstanding--;
          if (outcome === COMMITTED) this.#add(name, kind, count);
          else if (outcome !== REPLAYED && outcome.effect === "unknown") this.unknownCount++;
          reply.settled(settledIndex, outcome);
        },
      };
      ingress.submit(domain, kind, count, eventId, witnessed, index);
    });
  }

  #add(name: string, kind: EventKind, count: number): void {
    let counts = this.settled.get(name);
    if (counts === undefined) {
      counts = { delivered: 0, bounced: 0 };
      this.settled.set(name, counts);
    }
    if (kind === DELIVERED) counts.delivered += count;
    else counts.bounced += count;
    this.settledCount += count;
  }
}

export type Submit = (
  domain: DomainParser,
  kind: EventKind,
  count: number,
  eventId: string | null,
  reply: EventReply,
  index: number,
) => void;

/** `ingress`, but for what it does with an event. */
export function ingressWith(ingress: Ingress, submit: Submit): Ingress {
  return new Proxy(ingress, {
    get: (target, key) => {
      if (key === "submit") return submit;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
