/**
 * Counted = acknowledged, request by request and domain by domain. Two laws without slack: each domain has exactly what
 * the ingress settled as counted, and each request whose answers were all seen has counted exactly what they say. Only
 * the one request whose answer its client could not see may have counted or not.
 * Invariant: every counted event belongs to a request that names its domain; what belongs to none is a fault.
 */
import { type DomainName, DomainParser } from "../../src/model/domain-name.ts";
import type { Counts, IngressWitness } from "./http-ingress-witness.ts";
import type { Mutant } from "./http-mutations.ts";

export interface SentRequest {
  readonly mutant: Mutant;
  /** Events that its answers say were counted. */
  readonly acknowledged: number;
  /** Events whose answer was not seen: each may have been counted. */
  readonly unseenMax: number;
}

/** Of what was looked at. */
export interface CountedSums {
  /** All counted events, those of honest clients too. */
  total: number;
  /** Counted for a request with an answer that was not seen, above what was acknowledged. */
  unseenCounted: number;
}

type Fault = (sentence: string, mutant: Mutant | null) => void;

export class CountingLaw {
  /** Sent since the last look, by the name in the domain. */
  readonly #recent: Map<string, SentRequest> = new Map();
  /** What domains had at the last look that are not of one request alone. */
  readonly #before: Map<string, number> = new Map();
  readonly #witness: IngressWitness;
  readonly #fault: Fault;

  constructor(witness: IngressWitness, fault: Fault) {
    this.#witness = witness;
    this.#fault = fault;
  }

  add(name: string, sent: SentRequest): void {
    this.#recent.set(name, sent);
  }

  /** To be called while nothing is under way. `isOther`: domains that no request of these is about. */
  async check(isOther: (domain: string) => boolean): Promise<CountedSums> {
    const { ingress, settled, settledCount, unknownCount } = this.#witness;
    const names = new Set(settled.keys());
    for (const name of this.#recent.keys()) names.add(domainOf(name));
    const counted = new Map<string, number>();
    for (const status of await ingress.statuses([...names] as DomainName[])) {
      const { domain, delivered, bounced } = status;
      counted.set(domain, delivered + bounced);
      this.#checkDomain(domain, { delivered, bounced });
    }
    const { delivered, bounced } = await ingress.stats();
    const total = delivered + bounced;
    if (total !== settledCount || unknownCount > 0) {
      const unknown = unknownCount === 0 ? "" : `, ${unknownCount} unknown`;
      this.#fault(`${total} counted in all, ${settledCount} settled as counted${unknown}`, null);
    }
    const unseenCounted = this.#checkRequests(counted, isOther);
    for (const name of this.#recent.keys()) settled.delete(domainOf(name));
    this.#recent.clear();
    return { total, unseenCounted };
  }

  #checkDomain(domain: string, { delivered, bounced }: Counts): void {
    const told = this.#witness.settled.get(domain) ?? { delivered: 0, bounced: 0 };
    if (told.delivered === delivered && told.bounced === bounced) return;
    const found = `${delivered} delivered and ${bounced} bounced`;
    const sentence = `${domain} has ${found}, settled were ${told.delivered} and ${told.bounced}`;
    this.#fault(sentence, this.#recent.get(nameOf(domain))?.mutant ?? null);
  }

  #checkRequests(
    counted: ReadonlyMap<string, number>,
    isOther: (domain: string) => boolean,
  ): number {
    const byName = this.#countedByName(counted, isOther);
    let unseenCounted = 0;
    for (const [name, { mutant, acknowledged, unseenMax }] of this.#recent) {
      const count = byName.get(name) ?? 0;
      if (count >= acknowledged && count <= acknowledged + unseenMax) {
        unseenCounted += count - acknowledged;
        continue;
      }
      const sentence = `${count} counted, ${acknowledged} acknowledged, ${unseenMax} unseen`;
      this.#fault(sentence, mutant);
    }
    return unseenCounted;
  }

  #countedByName(
    counted: ReadonlyMap<string, number>,
    isOther: (domain: string) => boolean,
  ): Map<string, number> {
    const byName = new Map<string, number>();
    for (const name of this.#recent.keys()) byName.set(name, counted.get(domainOf(name)) ?? 0);
    for (const [domain, count] of counted) {
      if (isOther(domain) || this.#isOfOne(domain)) continue;
      const added = count - (this.#before.get(domain) ?? 0);
      this.#before.set(domain, count);
      if (added === 0) continue;
      const left = this.#share(domain, added, byName);
      if (left > 0) this.#fault(`${left} counted for ${domain}, which nobody sent`, null);
    }
    return byName;
  }

  #isOfOne(domain: string): boolean {
    return domain.endsWith(END) && this.#recent.has(nameOf(domain));
  }

  /**
   * Gives what a changed domain has to the requests that name it, two of which may have become the same: first to those
   * that lack it, then to those that may have more. Returns what is left.
   */
  #share(domain: string, added: number, byName: Map<string, number>): number {
    const ids = domain.match(/\d{7}/g) ?? [];
    const near = ids.map((id) => `q${id}x${id}`).filter((name) => this.#names(name, domain));
    let left = added;
    for (const isForUnseen of [false, true]) {
      for (const name of near.length > 0 ? near : this.#recent.keys()) {
        const { acknowledged, unseenMax } = this.#recent.get(name) as SentRequest;
        const count = byName.get(name) ?? 0;
        const room = acknowledged + (isForUnseen ? unseenMax : 0) - count;
        if (left === 0) return 0;
        if (room <= 0 || !this.#names(name, domain)) continue;
        byName.set(name, count + Math.min(room, left));
        left -= Math.min(room, left);
      }
    }
    return left;
  }

  #names(name: string, domain: string): boolean {
    const sent = this.#recent.get(name);
    return sent !== undefined && domainsNamedIn(sent.mutant.pieces.join("")).has(domain);
  }
}

const END = ".example";

function domainOf(name: string): string {
  return name + END;
}

/** Of a domain that is `domainOf` a name. */
function nameOf(domain: string): string {
  return domain.slice(0, -END.length);
}

const PARSER = new DomainParser();

/** Every domain that a reading of the bytes (latin1) could count an event for. */
function domainsNamedIn(text: string): Set<string> {
  const domains = new Set<string>();
  const add = (raw: string, isPercentEncoded: boolean): void => {
    for (const each of [raw, Buffer.from(raw, "latin1").toString()]) {
      if (PARSER.parseText(each, isPercentEncoded) === null) domains.add(PARSER.name());
    }
  };
  for (const [, segment = ""] of text.matchAll(/\/events\/([^/]*)\/(?:delivered|bounced)/g)) {
    add(segment, true);
  }
  for (const [, value = ""] of text.matchAll(/"domain"\s*:\s*("(?:[^"\\]|\\.)*")/g)) {
    try {
      add(JSON.parse(value) as string, false);
    } catch {
      // No string of JSON: names nothing.
    }
  }
  return domains;
}
