/**
 * Requests with more than one reading, or none. `allowed`: how many handler calls a strict reading of RFC 9112 permits.
 * Every body that could be taken for a request is one, for the domain `smuggled.example`: that must never be handled.
 */

export interface SmugglingVector {
  readonly name: string;
  readonly bytes: string;
  readonly allowed: number;
  /** Adapters that take it although they should not, and why that is harmless; nothing more is granted to them. */
  readonly lenient?: Readonly<Partial<Record<"uws" | "node", string>>>;
}

const HOST = "Host: a.example\r\n";
const PUT = "PUT /events/good.example/delivered HTTP/1.1\r\n";
const POST = "POST /events HTTP/1.1\r\n";
const SMUGGLED = `PUT /events/smuggled.example/delivered HTTP/1.1\r\n${HOST}\r\n`;
const LENGTH = SMUGGLED.length;
const CHUNKED = "Transfer-Encoding: chunked\r\n";
const CHUNKED_END = "0\r\n\r\n";
const CHUNKED_CLOSES =
  "chunk framing is read leniently; the connection is closed after any chunked request";

function put(name: string, headers: string, body: string, allowed: number = 0): SmugglingVector {
  return { name, bytes: `${PUT}${HOST}${headers}\r\n${body}`, allowed };
}

function line(name: string, requestLine: string, allowed: number = 0): SmugglingVector {
  return { name, bytes: `${requestLine}\r\n${HOST}\r\n`, allowed };
}

function chunked(name: string, body: string, allowed: number = 0): SmugglingVector {
  const bytes = `${POST}${HOST}${CHUNKED}\r\n${body}`;
  return { name, bytes, allowed, lenient: { uws: CHUNKED_CLOSES } };
}

const LENGTHS: readonly SmugglingVector[] = [
  put("length and chunked", `Content-Length: ${LENGTH}\r\n${CHUNKED}`, CHUNKED_END + SMUGGLED),
  put("chunked and length", `${CHUNKED}Content-Length: 5\r\n`, CHUNKED_END + SMUGGLED),
  put(
    "lower-case length and upper-case chunked",
    "content-length: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n",
    CHUNKED_END + SMUGGLED,
  ),
  put(
    "length 0 and chunked",
    `Content-Length: 0\r\n${CHUNKED}`,
    `${LENGTH.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`,
  ),
  put("two lengths, first 0", `Content-Length: 0\r\nContent-Length: ${LENGTH}\r\n`, SMUGGLED),
  put("two lengths, second 0", `Content-Length: ${LENGTH}\r\nContent-Length: 0\r\n`, SMUGGLED),
  put("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", `hello${SMUGGLED}`),
  put("length list", "Content-Length: 5, 5\r\n", `hello${SMUGGLED}`),
  put("length list, different", `Content-Length: 0, ${LENGTH}\r\n`, SMUGGLED),
  put("length +5", "Content-Length: +5\r\n", `hello${SMUGGLED}`),
  put("length -0", "Content-Length: -0\r\n", SMUGGLED),
  put("length -1", "Content-Length: -1\r\n", SMUGGLED),
  put("length 0x5", "Content-Length: 0x5\r\n", `hello${SMUGGLED}`),
  put("length 1_0", "Content-Length: 1_0\r\n", `hellohello${SMUGGLED}`),
  put("length 5e0", "Content-Length: 5e0\r\n", `hello${SMUGGLED}`),
  put("length 5.0", "Content-Length: 5.0\r\n", `hello${SMUGGLED}`),
  put("length with a space inside", "Content-Length: 1 0\r\n", `hellohello${SMUGGLED}`),
  put("length empty", "Content-Length: \r\n", SMUGGLED),
  put("length with a vertical tab", "Content-Length:\x0b5\r\n", `hello${SMUGGLED}`),
  put("length with a trailing NUL", "Content-Length: 5\0\r\n", `hello${SMUGGLED}`),
  put("length 2^63", "Content-Length: 9223372036854775808\r\n", SMUGGLED),
  put("length 2^64", "Content-Length: 18446744073709551616\r\n", SMUGGLED),
  put("length 2^64 + 5", "Content-Length: 18446744073709551621\r\n", `hello${SMUGGLED}`),
  put("space before the colon of the length", "Content-Length : 5\r\n", `hello${SMUGGLED}`),
  put("length on a folded line", `X-A: b\r\n Content-Length: ${LENGTH}\r\n`, SMUGGLED),
  put("length after a bare LF", `X-A: b\nContent-Length: ${LENGTH}\r\n`, SMUGGLED),
  put("length after a bare CR", `X-A: b\rContent-Length: ${LENGTH}\r\n`, SMUGGLED),
  put("underscore for hyphen", `Content_Length: ${LENGTH}\r\n`, "", 1),
];

const CODINGS: readonly SmugglingVector[] = [
  put("xchunked", "Transfer-Encoding: xchunked\r\n", CHUNKED_END + SMUGGLED),
  put("identity", "Transfer-Encoding: identity\r\n", CHUNKED_END + SMUGGLED),
  put("empty coding", "Transfer-Encoding: \r\n", CHUNKED_END + SMUGGLED),
  put(
    "coding list ending in identity",
    "Transfer-Encoding: chunked, identity\r\n",
    CHUNKED_END + SMUGGLED,
  ),
  put("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", CHUNKED_END, 1),
  put("two codings", `${CHUNKED}Transfer-Encoding: identity\r\n`, CHUNKED_END + SMUGGLED),
  put(
    "two codings, identity first",
    `Transfer-Encoding: identity\r\n${CHUNKED}`,
    CHUNKED_END + SMUGGLED,
  ),
  put(
    "space before the colon of the coding",
    "Transfer-Encoding : chunked\r\n",
    CHUNKED_END + SMUGGLED,
  ),
  put(
    "vertical tab before the coding",
    "Transfer-Encoding:\x0bchunked\r\n",
    CHUNKED_END + SMUGGLED,
  ),
  put("quoted coding", 'Transfer-Encoding: "chunked"\r\n', CHUNKED_END + SMUGGLED),
  put("coding on a folded line", "Transfer-Encoding:\r\n chunked\r\n", CHUNKED_END + SMUGGLED),
  put("coding with a trailing NUL", "Transfer-Encoding: chunked\0\r\n", CHUNKED_END + SMUGGLED),
  chunked("chunk size 0x5", `0x5\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk size +5", `+5\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk size -5", `-5\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk size 0_5", `0_5\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk size empty", `\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk size with a leading space", ` 5\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk size over 64 bits", `FFFFFFFFFFFFFFFFFF\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk size 2^64 + 5", `10000000000000005\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk extension with a bare LF", `5;a\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("chunk extension of 64 KiB", `5;${"a".repeat(65_536)}\r\nhello\r\n${CHUNKED_END}`, 1),
  chunked("chunk lines ended by bare LF", `5\nhello\n0\n\n${SMUGGLED}`),
  chunked("chunk without its CRLF", `5\r\nhelloXX0\r\n\r\n${SMUGGLED}`),
  chunked("chunk longer than its size", `3\r\nhello\r\n${CHUNKED_END}${SMUGGLED}`),
  chunked("last chunk without CRLF", "5\r\nhello\r\n0\r\n"),
  chunked("trailer", `5\r\nhello\r\n0\r\nX-T: y\r\n\r\n`, 1),
  chunked("trailer that is a request line", `0\r\n${SMUGGLED}`, 1),
];

const HEADS: readonly SmugglingVector[] = [
  { name: "no Host", bytes: `${PUT}\r\n`, allowed: 0 },
  put("two Hosts", "Host: b.example\r\n", ""),
  put("two equal Hosts", HOST, ""),
  { name: "Host with a slash", bytes: `${PUT}Host: a/b\r\n\r\n`, allowed: 0 },
  { name: "Host with an at sign", bytes: `${PUT}Host: a@b\r\n\r\n`, allowed: 0 },
  put("folded line", "X-A: b\r\n c\r\n", ""),
  put("NUL in a value", "X-A: b\0c\r\n", ""),
  put("NUL in a name", "X\0A: b\r\n", ""),
  put("CR in a value", "X-A: b\rc\r\n", ""),
  put("space before the colon", "X-A : b\r\n", ""),
  put("header without a colon", "X-A\r\n", ""),
  put("space in a name", "X A: b\r\n", ""),
  {
    ...put("empty name", ": b\r\n", ""),
    lenient: { uws: "the parser drops such a line and all after it" },
  },
  { name: "space before the first header", bytes: `${PUT} ${HOST}\r\n`, allowed: 0 },
  { name: "bare LF everywhere", bytes: `${PUT.replace("\r", "")}Host: a.example\n\n`, allowed: 0 },
  { name: "HTTP/0.9", bytes: "GET /domains/a.example\r\n\r\n", allowed: 0 },
  line("HTTP/1.0", "GET /domains/a.example HTTP/1.0", 1),
  line("HTTP/1.2", "PUT /events/good.example/delivered HTTP/1.2", 1),
  line("HTTP/2.0", "PUT /events/good.example/delivered HTTP/2.0"),
  line("lower-case version", "PUT /events/good.example/delivered http/1.1"),
  line("version without a number", "PUT /events/good.example/delivered HTTP/"),
  line("absolute form", "PUT http://a.example/events/good.example/delivered HTTP/1.1", 1),
  line("asterisk form", "PUT * HTTP/1.1"),
  line("OPTIONS asterisk form", "OPTIONS * HTTP/1.1"),
  line("authority form", "CONNECT good.example:80 HTTP/1.1"),
  line("lower-case method", "put /events/good.example/delivered HTTP/1.1"),
  {
    ...line("two spaces before the target", "PUT  /events/good.example/delivered HTTP/1.1"),
    lenient: { node: "RFC 9112 section 3 allows it; there is one reading" },
  },
  {
    ...line("two spaces after the target", "PUT /events/good.example/delivered  HTTP/1.1"),
    lenient: { node: "RFC 9112 section 3 allows it; there is one reading" },
  },
  line("tab for space", "PUT\t/events/good.example/delivered\tHTTP/1.1"),
  line("space in the target", "PUT /events/good.example/delivered x HTTP/1.1"),
  line("NUL in the target", "PUT /events/good.example/delivered\0 HTTP/1.1"),
  line("leading space", " PUT /events/good.example/delivered HTTP/1.1"),
  { name: "HTTP/2 preface", bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", allowed: 0 },
  {
    name: "PROXY version 2 preface",
    bytes: `\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x51${PUT}${HOST}\r\n`,
    allowed: 0,
    lenient: { uws: "built into the library; the addresses it carries are never read" },
  },
  {
    name: "PROXY version 1 preface",
    bytes: `PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n${PUT}${HOST}\r\n`,
    allowed: 0,
  },
  {
    name: "TLS client hello",
    bytes: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".padEnd(170, "\x01"),
    allowed: 0,
  },
];

export const SMUGGLING_VECTORS: readonly SmugglingVector[] = [...LENGTHS, ...CODINGS, ...HEADS];
