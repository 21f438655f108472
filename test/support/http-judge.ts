/**
 * Judges one answer: its problem is one of the table, with the table's status and effect; and for a request that can be
 * read in one way only it is declared by the document of the API, with media type and shape.
 * Returns sentences, never throws for what a server sent.
 */

import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { openApiDocument } from "../../src/api/openapi.ts";
import { ROUTES, templateOf } from "../../src/api/routes.ts";
import { RouteTable } from "../../src/http/route-table.ts";
import { ERROR_CODES, type ErrorCode } from "../../src/model/errors.ts";
import type { Answer, StrictRequest } from "./http-reading.ts";

interface Declared {
  readonly content?: Readonly<Record<string, unknown>>;
}

type Paths = Readonly<
  Record<string, Readonly<Record<string, { responses: Readonly<Record<string, Declared>> }>>>
>;

/** Compiled once a process: that takes longer than a thousand requests. */
const DOCUMENT = openApiDocument({ version: "0.1.0" });
const AJV = new Ajv2020({ strict: false, validateFormats: false });
const VALIDATORS: Map<string, ValidateFunction> = new Map();
const ID = "https://catchall.invalid/openapi.json";
const PROBLEM = "application/problem+json";
/** What uWebSockets.js writes by itself, docs/http-limits.md. */
const LIBRARY_STATUSES: ReadonlySet<number> = new Set([400, 431, 505]);
/** Answers to what is no route: unknown path, wrong method, OPTIONS; malformed, too long, too large. */
const OTHER_STATUSES: ReadonlySet<number> = new Set([204, 400, 404, 405, 414, 431]);

export class AnswerJudge {
  readonly #paths: Paths;
  readonly #routes = new RouteTable(
    ROUTES.map((route) => ({ ...route, handler: () => undefined })),
  );
  readonly #kind: "uws" | "node";

  constructor(kind: "uws" | "node") {
    this.#kind = kind;
    this.#paths = DOCUMENT["paths"] as Paths;
  }

  /** True for a page that uWebSockets.js wrote in front of, or in place of, an answer of ours. */
  isOfLibrary({ status, mediaType, body }: Answer): boolean {
    return (
      this.#kind === "uws" &&
      mediaType === "" &&
      LIBRARY_STATUSES.has(status) &&
      /^(<h1>.*|)$/.test(body)
    );
  }

  /** Null when all is right. `request` null: the bytes have several readings, or none. */
  faultOf(answer: Answer, request: StrictRequest | null): string | null {
    if (answer.status >= 500 && !this.isOfLibrary(answer) && !isOverloaded(answer)) {
      return `${answer.status} ${answer.body}`;
    }
    const fault = this.#problemFault(answer, request);
    if (fault !== null || request === null || this.isOfLibrary(answer)) return fault;
    if (request.method === "HEAD") return this.#statusFault(answer, "GET", request.path);
    return this.#statusFault(answer, request.method, request.path);
  }

  #problemFault(answer: Answer, request: StrictRequest | null): string | null {
    const { status, mediaType, body } = answer;
    if (status < 400 || this.isOfLibrary(answer)) return null;
    if (mediaType !== PROBLEM) return `${status} as ${mediaType}, not as a problem`;
    // Of HEAD there is no body to read; of what has several readings nobody knows whether it was a HEAD.
    if (body === "" && request?.method !== "GET" && request?.method !== "PUT") return null;
    const problem = parsed(body) as { code?: ErrorCode; status?: number; effect?: string } | null;
    const row = problem?.code === undefined ? undefined : ERROR_CODES[problem.code];
    if (problem === null || row === undefined)
      return `${status} is no problem: ${body.slice(0, 200)}`;
    if (row.status === status && problem.status === status && row.effect === problem.effect) {
      return null;
    }
    return `${status} does not fit its problem: ${body.slice(0, 200)}`;
  }

  #statusFault(answer: Answer, method: string, path: string): string | null {
    const { status, mediaType, body } = answer;
    const match = this.#routes.match(method, path);
    if (match === null) {
      return OTHER_STATUSES.has(status) ? null : `${status} for no route, ${method} ${path}`;
    }
    const template = templateOf(match.route.pattern);
    const declared = this.#paths[template]?.[method.toLowerCase()]?.responses[String(status)];
    if (declared === undefined) return `${status} is not declared for ${method} ${template}`;
    if (declared.content === undefined || body === "") {
      return body === "" ? null : `${status} of ${method} ${template} has an undeclared body`;
    }
    if (!(mediaType in declared.content)) {
      return `${status} of ${method} ${template} is ${mediaType}, which is not declared`;
    }
    if (!mediaType.endsWith("json") || mediaType === "application/x-ndjson") return null;
    const parts = ["paths", template, method.toLowerCase(), "responses", String(status)];
    const validate = validatorOf([...parts, "content", mediaType, "schema"]);
    if (validate(parsed(body))) return null;
    return `${status} of ${method} ${template}: ${AJV.errorsText(validate.errors)}`;
  }
}

/** A machine that stands still for a moment has more waiting than it takes: nothing was counted, and it says so. */
export function isOverloaded({ status, body }: Answer): boolean {
  return status === 503 && body.includes('"code":"overloaded"');
}

function validatorOf(parts: readonly string[]): ValidateFunction {
  const pointer = parts
    .map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")))
    .join("/");
  let validate = VALIDATORS.get(pointer);
  if (validate === undefined) {
    if (VALIDATORS.size === 0) AJV.addSchema({ $id: ID, ...DOCUMENT });
    validate = AJV.compile({ $ref: `${ID}#/${pointer}` });
    VALIDATORS.set(pointer, validate);
  }
  return validate;
}

/** How many events an answer acknowledges as counted by it. */
export function acknowledgedBy({ status, head, mediaType, body }: Answer): number {
  // Of all answers only the bare 204 of an event comes without the headers for browsers.
  if (status === 204 && !/\r\nx-content-type-options:/i.test(head)) {
    return /\r\nidempotency-replayed:/i.test(head) ? 0 : 1;
  }
  if (mediaType !== "application/json" && mediaType !== PROBLEM) return 0;
  if (!body.includes('"accepted":')) return 0;
  const { accepted } = parsed(Buffer.from(body, "latin1").toString()) as { accepted?: unknown };
  return typeof accepted === "number" ? accepted : 0;
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
