/**
 * Reads HTTP/1.1 answers from a connection that never pipelines: at most one answer is outstanding.
 * Invariant: bytes are untrusted; anything unexpected throws ResponseError, after which the connection is useless.
 * Handles Content-Length and chunked bodies; 204 and 304 have none. The 204 of the hot path costs no string.
 */

const HEAD_BYTES_MAX = 64 * 1024;
const BODY_BYTES_MAX = 64 * 1024 * 1024;

export class ResponseError extends Error {
  override readonly name: string = "ResponseError";
}

/** The fields hold the last complete answer. */
export class ResponseParser {
  status = 0;
  /** The server closes the connection after this answer. */
  isClosing = false;
  /** `Idempotency-Replayed: true` */
  isReplayed = false;
  /** Raw body; decode it only when it matters. */
  body: Buffer = EMPTY;
  #head = "";
  #lowerHead = "";
  #pending: Buffer = EMPTY;
  /** The exact 204 last seen: an equal one needs no parsing, the fields still hold. */
  #lastNoContent: Buffer = EMPTY;

  /** True when an answer is complete; then the fields are valid until the next call. */
  push(chunk: Buffer): boolean {
    if (this.#pending.length === 0) {
      if (this.#lastNoContent.length === chunk.length && this.#lastNoContent.equals(chunk)) {
        return true;
      }
      return this.#parse(chunk);
    }
    return this.#parse(Buffer.concat([this.#pending, chunk]));
  }

  /** Forgets a half-read answer. */
  reset(): void {
    this.#pending = EMPTY;
  }

  /** Value of a header by lower-case name, "" when absent. */
  header(name: string): string {
    const at = this.#lowerHead.indexOf(`\r\n${name}:`);
    if (at < 0) return "";
    const start = at + name.length + 3;
    const end = this.#head.indexOf("\r\n", start);
    return this.#head.slice(start, end < 0 ? undefined : end).trim();
  }

  #parse(bytes: Buffer): boolean {
    const headEnd = bytes.indexOf("\r\n\r\n");
    if (headEnd < 0) {
      if (bytes.length > HEAD_BYTES_MAX) throw new ResponseError("Answer has too long a head");
      return this.#keep(bytes);
    }
    this.#head = bytes.toString("latin1", 0, headEnd);
    this.#lowerHead = this.#head.toLowerCase();
    if (!/^HTTP\/1\.[01] \d{3}/.test(this.#head)) {
      throw new ResponseError("Answer is not HTTP/1.1");
    }
    this.status = Number(this.#head.slice(9, 12));
    this.isClosing = this.header("connection").toLowerCase() === "close";
    this.isReplayed = this.header("idempotency-replayed") === "true";
    this.#lastNoContent = EMPTY;
    const bodyStart = headEnd + 4;
    if (this.status < 200) return this.#skipInterim(bytes, bodyStart);
    if (this.status === 204 || this.status === 304) {
      if (bytes.length !== bodyStart) throw new ResponseError("Answer 204 has a body");
      // Copied, since the caller reuses its read buffer.
      if (this.status === 204) this.#lastNoContent = Buffer.from(bytes);
      return this.#complete(EMPTY);
    }
    if (this.header("transfer-encoding").toLowerCase() === "chunked") {
      const body = decodeChunks(bytes, bodyStart);
      return body === null ? this.#keep(bytes) : this.#complete(body);
    }
    const length = Number(this.header("content-length") || Number.NaN);
    if (!Number.isSafeInteger(length) || length < 0 || length > BODY_BYTES_MAX) {
      throw new ResponseError("Answer has no usable Content-Length");
    }
    if (bytes.length > bodyStart + length) throw new ResponseError("Answer is too long");
    if (bytes.length < bodyStart + length) return this.#keep(bytes);
    return this.#complete(Buffer.from(bytes.subarray(bodyStart)));
  }

  #skipInterim(bytes: Buffer, bodyStart: number): boolean {
    this.#pending = EMPTY;
    return bytes.length > bodyStart ? this.#parse(bytes.subarray(bodyStart)) : false;
  }

  #keep(bytes: Buffer): boolean {
    this.#pending = Buffer.from(bytes);
    return false;
  }

  #complete(body: Buffer): boolean {
    this.body = body;
    this.#pending = EMPTY;
    return true;
  }
}

const EMPTY = Buffer.alloc(0);

/** Null while the last chunk has not arrived. */
function decodeChunks(bytes: Buffer, start: number): Buffer | null {
  const chunks: Buffer[] = [];
  let at = start;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (!Number.isSafeInteger(size) || size < 0 || size > BODY_BYTES_MAX) {
      throw new ResponseError("Answer has a wrong chunk");
    }
    at = lineEnd + 2;
    if (bytes.length < at + size + 2) return null;
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(bytes.subarray(at, at + size));
    at += size + 2;
  }
}
