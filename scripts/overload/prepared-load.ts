/**
 * Requests that are built once and sent again and again, so that a request costs its sender a copy and the node the
 * whole of its work; and the account of what became of each of their events.
 * Invariant: every domain is named by one line of one request, so that its count must lie between the acknowledgements
 * of that line and those plus its sends of unknown outcome.
 */
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import type { LoadHttp } from "../../src/cli/load/load-http.ts";
import { LoadRequest, RequestText } from "../../src/cli/load/load-request.ts";
import { EachDomainOnce } from "../bench/each-domain-once.ts";

export interface LoadShape {
  readonly seed: number;
  readonly requests: number;
  /** Lines a request; 0: single PUTs. */
  readonly bulk: number;
}

/** By number of domain. */
export interface Account {
  readonly acked: Uint32Array;
  readonly unknown: Uint32Array;
}

/** What the node counted against what it acknowledged, in events. */
export interface Law {
  readonly acked: number;
  readonly unknown: number;
  readonly counted: number;
  readonly lost: number;
  /** Counted without an acknowledgement, over what is unknown. */
  readonly surplus: number;
}

const LOOKUP_DOMAINS = 5_000;

export class PreparedLoad {
  /** One-byte characters. */
  readonly texts: readonly string[];
  readonly linesPerRequest: number;
  readonly isBulk: boolean;
  readonly account: Account;

  constructor(shape: LoadShape, host: string) {
    this.isBulk = shape.bulk > 0;
    this.linesPerRequest = Math.max(1, shape.bulk);
    const domains = shape.requests * this.linesPerRequest;
    this.account = { acked: new Uint32Array(domains), unknown: new Uint32Array(domains) };
    const text = new RequestText({
      names: new DomainNames(shape.seed),
      host,
      basePath: "",
      token: null,
      keyPrefix: "",
      isBulk: this.isBulk,
    });
    const request = new LoadRequest(this.linesPerRequest);
    const stream = new EachDomainOnce();
    this.texts = Array.from({ length: shape.requests }, () => {
      request.fill(stream, this.linesPerRequest, 0);
      return flat(text.of(request));
    });
  }

  /** All lines of a request but those named. */
  ack(request: number, refusedLines: readonly number[]): void {
    const { acked } = this.account;
    const first = request * this.linesPerRequest;
    for (let i = first; i < first + this.linesPerRequest; i++) (acked[i] as number)++;
    for (const line of refusedLines) (acked[first + line] as number)--;
  }

  /** `line` null: all of them. */
  unknown(request: number, line: number | null): void {
    const { unknown } = this.account;
    const first = request * this.linesPerRequest;
    if (line !== null) (unknown[first + line] as number)++;
    else for (let i = first; i < first + this.linesPerRequest; i++) (unknown[i] as number)++;
  }
}

/** Asks for every domain of a load. Errors: what the lookup throws. */
export async function judge(shape: LoadShape, account: Account, http: LoadHttp): Promise<Law> {
  const names = new DomainNames(shape.seed);
  const { acked, unknown } = account;
  const law = { acked: 0, unknown: 0, counted: 0, lost: 0, surplus: 0 };
  for (let start = 0; start < acked.length; start += LOOKUP_DOMAINS) {
    const end = Math.min(acked.length, start + LOOKUP_DOMAINS);
    const asked = Array.from({ length: end - start }, (_, i) => names.nameOf(start + i));
    const answers = await http.lookup(asked);
    for (let i = start; i < end; i++) {
      const low = acked[i] as number;
      const maybe = unknown[i] as number;
      const counted = answers[i - start]?.delivered ?? 0;
      law.acked += low;
      law.unknown += maybe;
      law.counted += counted;
      law.lost += Math.max(0, low - counted);
      law.surplus += Math.max(0, counted - low - maybe);
    }
  }
  return law;
}

/** Built by concatenation it would be copied together at its first send. */
function flat(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}
