/**
 * Filters that see the acknowledgements in a link's bytes: JetStream's publish acknowledgements on their way from NATS to
 * a node, HTTP answers on their way from a node to a client. Each asks once an acknowledgement whether it gets lost; it
 * was stored, since the server has answered.
 */

import type { LinkFilter } from "./faulty-link.ts";

/** MSG and HMSG carry a payload, all else is a line. Sizes are the last numbers of the line. */
const MESSAGE = /^H?MSG /;
const PUBLISH_ACK = /^\{\s*"stream":\s*"([^"]+)",(?:[^{}]*,)?\s*"seq":\s*\d+/;
const LINE_END = "\r\n";
const NOTHING: Buffer = Buffer.alloc(0);

/** `isLost` is asked for every publish acknowledgement; only that message is taken out of the stream of bytes. */
export class PublishAckFilter implements LinkFilter {
  readonly #isLost: (stream: string) => boolean;
  #rest: Buffer = NOTHING;

  constructor(isLost: (stream: string) => boolean) {
    this.#isLost = isLost;
  }

  up(): void {
    // What nodes send is not looked at.
  }

  down(chunk: Buffer): Buffer {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const passing: Buffer[] = [];
    let at = 0;
    for (;;) {
      const lineEnd = bytes.indexOf(LINE_END, at);
      if (lineEnd < 0) break;
      const payloadStart = lineEnd + LINE_END.length;
      const line = bytes.toString("latin1", at, Math.min(lineEnd, at + 4096));
      let frameEnd = payloadStart;
      let isPassing = true;
      if (MESSAGE.test(line)) {
        const size = Number(line.slice(line.lastIndexOf(" ") + 1));
        frameEnd = payloadStart + size + LINE_END.length;
        if (frameEnd > bytes.length) break;
        const start = bytes.toString("latin1", payloadStart, payloadStart + Math.min(size, 512));
        const stream = PUBLISH_ACK.exec(start)?.[1];
        isPassing = stream === undefined || !this.#isLost(stream);
      }
      if (isPassing) passing.push(bytes.subarray(at, frameEnd));
      at = frameEnd;
    }
    this.#rest = bytes.subarray(at);
    return passing.length === 1 ? (passing[0] as Buffer) : Buffer.concat(passing);
  }
}

/**
 * `isLost` is asked when an answer begins: at the first bytes of the server after bytes of the client. A lost one breaks
 * its connection. For clients that don't pipeline.
 */
export class HttpAnswerFilter implements LinkFilter {
  readonly #isLost: () => boolean;
  #isAwaited = false;

  constructor(isLost: () => boolean) {
    this.#isLost = isLost;
  }

  up(): void {
    this.#isAwaited = true;
  }

  down(chunk: Buffer): Buffer | null {
    if (!this.#isAwaited) return chunk;
    this.#isAwaited = false;
    return this.#isLost() ? null : chunk;
  }
}
