/**
 * One request of a load run and its bytes: a single `PUT /events/{domain}/{type}`, a `POST /events` of many lines, or a
 * `GET /domains/{domain}`.
 * Invariant: the text is latin-1 (names, keys and heads are ASCII), so its length in characters is its length in bytes.
 * Never rebuild what a domain's text was a moment ago: all forms come from a small direct-mapped cache.
 */
import { EVENT_KIND_NAMES, type EventKind } from "../../model/event.ts";
import type { DomainNames } from "./domain-names.ts";
import { type EventStream, UNKEYED } from "./mixes.ts";

/** The events of one request, or the domain that it reads, in columns that are reused from request to request. */
export class LoadRequest {
  readonly domains: Uint32Array;
  readonly kinds: Uint8Array;
  readonly keys: Float64Array;
  count = 0;
  /** Milliseconds of the load's clock from which the latency counts. */
  startMs = 0;
  /** When the first failure came; 0: none. */
  firstFailureMs = 0;
  /** A send of these events ended without an answer: they may be counted already. */
  isUncertain = false;
  /** It reads the domain of its only event, which is none. */
  isRead = false;

  constructor(linesMax: number) {
    this.domains = new Uint32Array(linesMax);
    this.kinds = new Uint8Array(linesMax);
    this.keys = new Float64Array(linesMax);
  }

  fill(stream: EventStream, count: number, startMs: number): void {
    for (let i = 0; i < count; i++) {
      stream.next();
      this.domains[i] = stream.domain;
      this.kinds[i] = stream.kind;
      this.keys[i] = stream.key;
    }
    this.count = count;
    this.startMs = startMs;
    this.firstFailureMs = 0;
    this.isUncertain = false;
    this.isRead = false;
  }

  /** A request that reads the domain of the next event of `stream`. */
  fillRead(stream: EventStream, startMs: number): void {
    this.fill(stream, 1, startMs);
    this.isRead = true;
  }

  domainAt(index: number): number {
    return this.domains[index] as number;
  }

  kindAt(index: number): EventKind {
    return this.kinds[index] as EventKind;
  }

  keyAt(index: number): number {
    return this.keys[index] as number;
  }

  /** Moves event `from` to place `to`; used to keep only those lines that must be sent again. */
  move(from: number, to: number): void {
    this.domains[to] = this.domains[from] as number;
    this.kinds[to] = this.kinds[from] as number;
    this.keys[to] = this.keys[from] as number;
  }
}

export interface RequestTextOptions {
  readonly names: DomainNames;
  /** Host header, for example "127.0.0.1:8080". */
  readonly host: string;
  /** Path before `/events`; "" or "/prefix". */
  readonly basePath: string;
  readonly token: string | null;
  /** Prefix of idempotency keys; another one each run, so that a run is never taken for the one before. */
  readonly keyPrefix: string;
  readonly isBulk: boolean;
}

const CACHE_ENTRIES = 1 << 14;
/** Forms of the text of a domain: an event of each kind, and a read. */
const FORMS = EVENT_KIND_NAMES.length + 1;
const READ_FORM = EVENT_KIND_NAMES.length;

export class RequestText {
  readonly #options: RequestTextOptions;
  readonly #headEnd: string;
  readonly #readHeadEnd: string;
  readonly #bulkHead: string;
  readonly #cachedDomains = new Float64Array(CACHE_ENTRIES * FORMS).fill(-1);
  readonly #cachedTexts = new Array<string>(CACHE_ENTRIES * FORMS).fill("");

  constructor(options: RequestTextOptions) {
    this.#options = options;
    const token = options.token === null ? "" : `Authorization: Bearer ${options.token}\r\n`;
    this.#readHeadEnd = ` HTTP/1.1\r\nHost: ${options.host}\r\n${token}`;
    this.#headEnd = `${this.#readHeadEnd}Content-Length: 0\r\n`;
    this.#bulkHead =
      `POST ${options.basePath}/events HTTP/1.1\r\nHost: ${options.host}\r\n${token}` +
      "Content-Type: application/x-ndjson\r\nContent-Length: ";
  }

  /** The whole request, ready to be written as latin-1. */
  of(request: LoadRequest): string {
    return this.#options.isBulk ? this.#bulk(request) : this.#single(request);
  }

  #single(request: LoadRequest): string {
    if (request.isRead) return `${this.#textOf(request.domainAt(0), READ_FORM)}\r\n`;
    const text = this.#textOf(request.domainAt(0), request.kindAt(0));
    const key = request.keyAt(0);
    if (key === UNKEYED) return `${text}\r\n`;
    return `${text}Idempotency-Key: ${this.#options.keyPrefix}${key.toString(36)}\r\n\r\n`;
  }

  #bulk(request: LoadRequest): string {
    let body = "";
    for (let i = 0; i < request.count; i++) {
      body += this.#textOf(request.domainAt(i), request.kindAt(i));
      const key = request.keyAt(i);
      if (key === UNKEYED) body += "}\n";
      else body += `,"id":"${this.#options.keyPrefix}${key.toString(36)}"}\n`;
    }
    return `${this.#bulkHead}${body.length}\r\n\r\n${body}`;
  }

  /** The part of a request or line that depends on domain and form only, without its end. */
  #textOf(domain: number, form: number): string {
    const entry = (domain & (CACHE_ENTRIES - 1)) * FORMS + form;
    if (this.#cachedDomains[entry] === domain) return this.#cachedTexts[entry] as string;
    const text = this.#build(this.#options.names.nameOf(domain), form);
    this.#cachedDomains[entry] = domain;
    this.#cachedTexts[entry] = text;
    return text;
  }

  #build(name: string, form: number): string {
    const { basePath } = this.#options;
    if (form === READ_FORM) return `GET ${basePath}/domains/${name}${this.#readHeadEnd}`;
    const kind = EVENT_KIND_NAMES[form as EventKind];
    if (this.#options.isBulk) return `{"domain":"${name}","type":"${kind}"`;
    return `PUT ${basePath}/events/${name}/${kind}${this.#headEnd}`;
  }
}
