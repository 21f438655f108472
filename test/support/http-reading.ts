/**
 * The strict reading of bytes as requests (RFC 9112), and the tolerant reading of a connection's answers: what the
 * judge of mutated requests goes by. Text is latin1.
 * Invariant: `readStrictly` says yes only when every server must take the bytes for exactly one whole request.
 */

export interface StrictRequest {
  readonly method: string;
  readonly path: string;
}

export interface Answer {
  readonly status: number;
  /** As sent, without the status line. */
  readonly head: string;
  readonly mediaType: string;
  readonly body: string;
}

const HEADER = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x20-\x7e\t]*$/;
const REQUEST_LINE =
  /^(GET|HEAD|PUT|POST|DELETE|OPTIONS|TRACE|PATCH) (\/[\x21-\x22\x24-\x7e]*) HTTP\/1\.1$/;
const HOST_VALUE = /^host:[ \t]*[a-z0-9.:-]+[ \t]*$/i;
const HEADERS_MAX = 50;

/** Null for what is cut, followed by more, or not to be read in one way only. */
export function readStrictly(text: string): StrictRequest | null {
  const first = readFirst(text, 0);
  return first !== null && first.end === text.length ? first.request : null;
}

export interface Sequence {
  /** The bytes of each whole request that can be read in one way only, as far as they go. */
  readonly whole: readonly string[];
  /** From where on it can't. */
  readonly rest: string;
}

/** The whole requests at the start of the bytes: what a server has to answer one after the other. */
export function readSequence(text: string): Sequence {
  const whole: string[] = [];
  let offset = 0;
  for (;;) {
    const first = readFirst(text, offset);
    if (first === null) return { whole, rest: text.slice(offset) };
    whole.push(text.slice(offset, first.end));
    offset = first.end;
  }
}

function readFirst(text: string, start: number): { request: StrictRequest; end: number } | null {
  const headEnd = text.indexOf("\r\n\r\n", start);
  if (headEnd === -1) return null;
  const [line = "", ...headers] = text.slice(start, headEnd).split("\r\n");
  const match = REQUEST_LINE.exec(line);
  if (match === null || headers.length > HEADERS_MAX) return null;
  if (!headers.every((header) => HEADER.test(header))) return null;
  const hosts = headers.filter((header) => /^host:/i.test(header));
  if (hosts.length !== 1 || !HOST_VALUE.test(hosts[0] as string)) return null;
  if (headers.some((header) => /^(upgrade|expect|connection|te|trailer):/i.test(header)))
    return null;
  const end = bodyEnd(headers, text, headEnd + 4);
  if (end === null) return null;
  const [path = ""] = (match[2] as string).split("?");
  return { request: { method: match[1] as string, path }, end };
}

/** Null when the body is cut, or its framing not strict. */
function bodyEnd(headers: readonly string[], text: string, start: number): number | null {
  const framing = headers.filter((header) => /^(content-length|transfer-encoding):/i.test(header));
  if (framing.length === 0) return start;
  if (framing.length > 1) return null;
  const [name = "", value = ""] = (framing[0] as string).split(/:[ \t]*/);
  if (name.toLowerCase() === "content-length") {
    const end = /^(0|[1-9][0-9]{0,5})$/.test(value) ? start + Number(value) : Number.NaN;
    return end <= text.length ? end : null;
  }
  return value === "chunked" ? chunksEnd(text, start) : null;
}

function chunksEnd(text: string, start: number): number | null {
  let offset = start;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", offset);
    const size = lineEnd === -1 ? "" : text.slice(offset, lineEnd);
    if (!/^[0-9a-f]{1,4}$/i.test(size)) return null;
    const end = lineEnd + 2 + Number.parseInt(size, 16);
    if (text.slice(end, end + 2) !== "\r\n") return null;
    offset = end + 2;
    if (Number.parseInt(size, 16) === 0) return offset;
  }
}

export interface Answers {
  readonly answers: readonly Answer[];
  /** Behind the last answer that is complete. */
  readonly rest: string;
  /** An event stream or an export has begun: it has no end to wait for. */
  readonly isStreaming: boolean;
}

/**
 * The complete final answers at the start of `text`. A body or stream that did not come is taken for that of a HEAD
 * when another answer follows at once, or when `isHead` says so. Throws when the bytes are no answers.
 */
export function readAnswers(text: string, isHead: boolean): Answers {
  const answers: Answer[] = [];
  let offset = 0;
  while (offset < text.length) {
    const headEnd = text.indexOf("\r\n\r\n", offset);
    if (headEnd === -1) break;
    const head = text.slice(offset, headEnd);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(status)) throw new Error(`no answer: ${JSON.stringify(head.slice(0, 80))}`);
    const mediaType = /\r\ncontent-type: ([^;\r]*)/i.exec(head)?.[1] ?? "";
    const isStream = mediaType === "text/event-stream" && status === 200;
    if (isStream && !isHead && !text.startsWith("HTTP/1.1 ", headEnd + 4)) {
      return {
        answers: [...answers, { status, head, mediaType, body: "" }],
        rest: "",
        isStreaming: true,
      };
    }
    const body = bodyOf(text, headEnd + 4, { status, head, isHead });
    if (body === null) break;
    offset = body.end;
    if (status >= 200) answers.push({ status, head, mediaType, body: body.body });
  }
  return { answers, rest: text.slice(offset), isStreaming: false };
}

function bodyOf(
  text: string,
  start: number,
  { status, head, isHead }: { status: number; head: string; isHead: boolean },
): { body: string; end: number } | null {
  const none = { body: "", end: start };
  if (isHead || status < 200 || status === 204 || status === 304) return none;
  if (text.startsWith("HTTP/1.1 ", start)) return none;
  if (/\r\ntransfer-encoding: chunked/i.test(head)) return chunksOf(text, start);
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  const end = length === undefined ? text.length : start + Number(length);
  return end > text.length ? null : { body: text.slice(start, end), end };
}

function chunksOf(text: string, start: number): { body: string; end: number } | null {
  let body = "";
  let offset = start;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", offset);
    if (lineEnd === -1) return null;
    const size = Number.parseInt(text.slice(offset, lineEnd), 16);
    const end = lineEnd + 2 + size;
    if (!(end + 2 <= text.length)) return null;
    body += text.slice(lineEnd + 2, end);
    offset = end + 2;
    if (size === 0) return { body, end: offset };
  }
}
