/**
 * What a handler without a body needs of its request, kept until the body that came all the same has ended.
 * Invariant: only what such handlers ask for is copied; asking for another header is a mistake of the handler, and said.
 */

import { InvariantViolation } from "../runtime/assert.ts";
import type { HttpRequest } from "./http-server.ts";

export class KeptRequest implements HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly hasBody: boolean = false;
  readonly #parameter: string;
  readonly #key: string;
  readonly #remoteAddress: string;

  /** Must be called before the handler of `request` returns. */
  constructor(request: HttpRequest) {
    this.method = request.method;
    this.path = request.path;
    this.query = request.query;
    this.#parameter = request.parameter(0);
    this.#key = request.header("idempotency-key");
    this.#remoteAddress = request.remoteAddress();
  }

  parameter(index: number): string {
    return index === 0 ? this.#parameter : "";
  }

  header(name: string): string {
    if (name === "idempotency-key") return this.#key;
    throw new InvariantViolation(`header "${name}" is not kept behind a body`);
  }

  remoteAddress(): string {
    return this.#remoteAddress;
  }
}
