/**
 * Who may do what, decided from the headers before the body is read. Two modes: with tokens every route but the open
 * ones needs one; without, reads and writes are open and operators' routes work on a loopback listener only.
 * Invariant: tokens are compared as SHA-256 digests in constant time over all tokens; no answer says which part of a
 * token was wrong; a web page of another site can change nothing (Fetch metadata, Origin and, for operators, Host).
 */

import type { Role } from "../api/routes.ts";
import { CatchallError } from "../model/errors.ts";
import type { AccessToken } from "./access-tokens.ts";
import type { HttpRequest } from "./http-server.ts";

/** Port: digests and their comparison in constant time. */
export interface TokenDigest {
  sha256(text: string): Uint8Array;
  isEqual(a: Uint8Array, b: Uint8Array): boolean;
}

export interface AccessControlOptions {
  /** Null when no tokens file is configured. */
  readonly tokens: readonly AccessToken[] | null;
  readonly digest: TokenDigest;
  /** The configured listener address. */
  readonly host: string;
}

/** Who acts where nobody needs a token. */
export const ANONYMOUS = "anonymous";

const BEARER = /^bearer +([\x21-\x7e]+) *$/i;

export class AccessControl {
  readonly #tokens: readonly AccessToken[] | null;
  readonly #digest: TokenDigest;
  readonly #host: string;
  readonly #isLoopback: boolean;

  constructor(options: AccessControlOptions) {
    this.#tokens = options.tokens;
    this.#digest = options.digest;
    this.#host = options.host.toLowerCase();
    this.#isLoopback = isLoopbackHost(this.#host);
  }

  /** True when requests need tokens. */
  get hasTokens(): boolean {
    return this.#tokens !== null;
  }

  /** The name of who asks, or `unauthorized` / `forbidden`. */
  check(role: Role, request: HttpRequest): string | CatchallError {
    if (role === "open") return ANONYMOUS;
    if ((role === "write" || role === "admin") && isFromOtherSite(request)) {
      return new CatchallError("forbidden", "Changes may not come from a page of another site");
    }
    if (this.#tokens !== null) return this.#checkToken(role, request, this.#tokens);
    return role === "admin" ? this.#checkOperatorWithoutTokens(request) : ANONYMOUS;
  }

  #checkToken(
    role: Role,
    request: HttpRequest,
    tokens: readonly AccessToken[],
  ): string | CatchallError {
    const presented = BEARER.exec(request.header("authorization"))?.[1];
    if (presented === undefined) return new CatchallError("unauthorized");
    const digest = this.#digest.sha256(presented);
    let found: AccessToken | null = null;
    // No early exit: the time must not tell how far down the list a token stands.
    for (const token of tokens) if (this.#digest.isEqual(token.sha256, digest)) found = token;
    if (found === null) return new CatchallError("unauthorized");
    const isAllowed = found.roles.some((has) => has === "admin" || has === role);
    return isAllowed
      ? found.name
      : new CatchallError("forbidden", `This needs a token with the role "${role}"`);
  }

  #checkOperatorWithoutTokens(request: HttpRequest): string | CatchallError {
    if (!this.#isLoopback) {
      return new CatchallError(
        "forbidden",
        `Operator writes need a token while the node listens on "${this.#host}": start it with --tokens-file FILE, ` +
          'one JSON line per token, {"name","sha256","roles":["admin"]}',
      );
    }
    if (!this.#isKnownHost(request.header("host"))) {
      return new CatchallError(
        "forbidden",
        "Operator writes without tokens must address the node as localhost",
      );
    }
    return ANONYMOUS;
  }

  /** Against DNS rebinding: a page may make its own name resolve to 127.0.0.1, but must then send that name. */
  #isKnownHost(header: string): boolean {
    if (header === "") return true;
    const name = header.toLowerCase().replace(/:[0-9]{1,5}$/, "");
    return isLoopbackHost(name) || name === this.#host || name === `[${this.#host}]`;
  }
}

export function isLoopbackHost(host: string): boolean {
  return (
    host === "localhost" ||
    host === "::1" ||
    host === "[::1]" ||
    /^127(\.[0-9]{1,3}){3}$/.test(host)
  );
}

/** Browsers say where a request comes from; programs send neither header. */
function isFromOtherSite(request: HttpRequest): boolean {
  const site = request.header("sec-fetch-site");
  if (site !== "" && site !== "same-origin" && site !== "none") return true;
  const origin = request.header("origin");
  if (origin === "") return false;
  const host = request.header("host").toLowerCase();
  const lower = origin.toLowerCase();
  return lower !== `http://${host}` && lower !== `https://${host}`;
}
