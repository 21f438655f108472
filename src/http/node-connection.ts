/**
 * What is open on one connection of node:http, for the moment its parser refuses the bytes that follow.
 * Invariant: a request that came whole gets its own answer and nothing in its place, or none when its client has ended;
 * a refusal with effect none goes only to one that did not, and after the answers before it. Nothing that follows
 * refused bytes is handled.
 */

import type { Duplex } from "node:stream";

export type RefusalCode =
  | "bad_request"
  | "uri_too_long"
  | "headers_too_large"
  | "invalid_event_id"
  | "request_timeout";

/** The part of an exchange that its connection needs. */
export interface ConnectionExchange {
  readonly isClosed: boolean;
  /** The request has arrived to its last byte. */
  readonly isWhole: boolean;
  closeAfterAnswer(): void;
  /** Gives up the body that is still being read, and refuses the request. */
  refuseUnread(code: RefusalCode): void;
}

/** A client that never closes its side must not hold the socket. */
const LINGER_MS = 1000;

export class NodeConnection {
  /** No request that follows may be handled. */
  isEnded: boolean = false;
  /** The parser refused; the answers that are open go out, then the connection closes. */
  isBroken: boolean = false;
  readonly #socket: Duplex;
  #newest: ConnectionExchange | null = null;
  #openCount: number = 0;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  onRequest(exchange: ConnectionExchange): void {
    this.#newest = exchange;
    this.#openCount += 1;
  }

  /** The answer of one has left, or the connection is gone. */
  onAnswered(): void {
    this.#openCount -= 1;
    if (this.isBroken && this.#openCount === 0) closeSocket(this.#socket);
  }

  /**
   * False when nothing of this connection is pending: then the caller writes the refusal. `hasClientEnded`: the
   * client's side has closed within a request.
   */
  refuse(code: RefusalCode, hasClientEnded: boolean): boolean {
    const newest = this.#newest;
    this.isEnded = true;
    this.isBroken = true;
    if (newest === null || (this.#openCount === 0 && newest.isWhole)) return false;
    // What is open before the broken request may be a stream, which has no end of its own: as when a client ends
    // between two requests, the connection ends with it.
    const isBehindOthers = newest.isWhole || this.#openCount > 1;
    // Answered while its body was still coming: there is no second answer to one request.
    if (this.#openCount === 0 || (hasClientEnded && isBehindOthers)) closeSocket(this.#socket);
    else if (!newest.isClosed && !newest.isWhole) newest.refuseUnread(code);
    else newest.closeAfterAnswer();
    return true;
  }
}

/** Ends the socket once what was written has left. */
export function closeSocket(socket: Duplex, last: string = ""): void {
  if (socket.destroyed) return;
  socket.on("error", () => undefined);
  socket.end(last);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}
