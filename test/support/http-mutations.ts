/**
 * Requests and what may happen to them on the way: the operators of the HTTP Garden (delete, replace and insert bytes,
 * meaningful ones too; concatenate, shift, split, duplicate; delete, insert and replace headers; replace method and
 * target), each from a seed. Text is latin1: one character is one byte.
 * Invariant: the same random numbers give the same bytes. No request that is made here takes counts away again.
 */

export type Below = (limit: number) => number;

export interface Mutant {
  /** As written: each piece in a write of its own. */
  readonly pieces: readonly string[];
  readonly operators: readonly string[];
}

/** A small seeded generator (mulberry32). */
export function randomOf(seed: number): Below {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

const HOST = "Host: localhost\r\n";
const JSON_TYPE = "Content-Type: application/json\r\n";
const NDJSON_TYPE = "Content-Type: application/x-ndjson\r\n";

function request(line: string, headers: string = "", body: string | null = null): string {
  const length = body === null ? "" : `Content-Length: ${body.length}\r\n`;
  return `${line} HTTP/1.1\r\n${HOST}${headers}${length}\r\n${body ?? ""}`;
}

function inChunks(line: string, headers: string, chunks: readonly string[]): string {
  const framed = [...chunks, ""].map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`);
  const coding = "Transfer-Encoding: chunked\r\n";
  return `${line} HTTP/1.1\r\n${HOST}${headers}${coding}\r\n${framed.join("")}`;
}

function lines(random: Below, name: string): string {
  return `{"domain":"${name}.example","type":"delivered"}\n`.repeat(1 + random(3));
}

/** Well-formed requests; what they ask for is chosen anew each time. */
const SEEDS: readonly ((random: Below, name: string) => string)[] = [
  (_random, name) => request(`PUT /events/${name}.example/delivered`),
  (_random, name) => request(`POST /events/${name}.example/bounced`, "", ""),
  (_random, name) => request(`PUT /events/${name}.example/delivered`, "", "hello"),
  (_random, name) => inChunks(`PUT /events/${name}.example/bounced`, "", ["hel", "lo"]),
  (random, name) =>
    request(`PUT /events/${name}.example/delivered`, `Idempotency-Key: k${random(99)}\r\n`),
  (random, name) => request("POST /events", NDJSON_TYPE, lines(random, name)),
  (random, name) =>
    inChunks("POST /events", NDJSON_TYPE, [lines(random, name), lines(random, name)]),
  (random, name) =>
    request("POST /events", JSON_TYPE, `[${lines(random, name).trim().replaceAll("\n", ",")}]`),
  (_random, name) => request("POST /domains/lookup", JSON_TYPE, `{"domains":["${name}.example"]}`),
  (_random, name) => request(`GET /domains/${name}.example`),
  () => request("GET /domains/stats"),
  () => request("GET /domains?limit=2&status=unknown"),
  () => request("GET /changes", "Last-Event-ID: x\r\n"),
  (_random, name) => request(`GET /domains/${name}.example/watch`),
  () =>
    request(
      "PUT /domains/overridden-domain.example/override",
      JSON_TYPE,
      '{"status":"unknown","reason":"Asked \\u00fc"}',
    ),
  // Never overridden: the 204 of one that was looks like that of an event.
  () => request("DELETE /domains/o.example/override"),
  () => request("GET /healthz"),
];

/** Seeds that count events are taken as often as all others together. */
const COUNTING_SEEDS = 8;

const ODD_BYTES: readonly string[] = [
  ..."\r\n\0:,; \t\x0b\x7f\x80\xff%{}\"'9-+_/?#[]\\",
  "\r\n",
  "\r\n\r\n",
  "%00",
  "%2f",
  "%0d%0a",
  "0x",
  "\xc3\xbc",
  "__proto__",
  "1e309",
  "\ud83d\ude00",
].map((text) =>
  Buffer.from(text, text.length === 2 && text > "\ud800" ? "utf8" : "latin1").toString("latin1"),
);

const METHODS: readonly string[] = [
  ..."GET HEAD PUT POST OPTIONS TRACE PATCH CONNECT put PRI PROPFIND".split(" "),
];

/** NAME stands for the name of the request: no two requests count for the same domain. */
const TARGETS: readonly string[] = [
  "*",
  "//",
  "/events",
  "http://a.example/events/NAME.example/delivered",
  "a.example:80",
  "/events//delivered",
  "/events/../metrics",
  "/events/%00/delivered",
  "/events/%ff%fe/delivered",
  "/events/NAME.example/delivered/",
  "/events/NAME.example/other",
  "/events/b%C3%BCcher-NAME.example/delivered",
  `/events/${"a".repeat(300)}/delivered`,
  `/domains/NAME.example?${"q".repeat(3_000)}`,
  "/domains/__proto__",
  "/domains?limit=-1",
  "/domains?limit=1e309&cursor=AAAA",
  "/metrics#x",
  "/openapi.json",
];

const HEADERS: readonly string[] = [
  ...["0", "5", "+5", "-0", "0x5", " 5 ", "5, 5", "1_0", "99999999999999999999"].map(
    (length) => `Content-Length: ${length}`,
  ),
  ...["chunked", "xchunked", "chunked, chunked", "gzip, chunked", "\x0bchunked", "identity"].map(
    (coding) => `Transfer-Encoding: ${coding}`,
  ),
  "Transfer-Encoding : chunked",
  "Host: b.example",
  "Host: a/b",
  "Expect: 100-continue",
  "Expect: 200-maybe",
  "Connection: close",
  "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
  "Content-Type: text/plain",
  "Content-Encoding: gzip",
  "Idempotency-Key: k1",
  "Idempotency-Key:",
  "Authorization: Bearer x",
  "Accept: text/plain;q=0.1, */*;q=x",
  "X-A: b\r\n folded",
  `X-A: ${"b".repeat(5_000)}`,
  `X-A: ${"b".repeat(17_000)}`,
  ": no name",
  "No colon",
];

type Operator = (text: string, random: Below, name: string) => string;

function spliced(text: string, at: number, removed: number, inserted: string): string {
  return text.slice(0, at) + inserted + text.slice(at + removed);
}

function oneOf(list: readonly string[], random: Below): string {
  return list[random(list.length)] as string;
}

/** The lines of the head behind the first; none when there is no head any more. */
function withHeaders(text: string, change: (headers: string[]) => void): string {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return text;
  const [line = "", ...headers] = text.slice(0, end).split("\r\n");
  change(headers);
  return [line, ...headers].join("\r\n") + text.slice(end);
}

export const OPERATORS: Readonly<Record<string, Operator>> = {
  "delete byte": (text, random) => spliced(text, random(text.length), 1, ""),
  "replace byte": (text, random) =>
    spliced(text, random(text.length), 1, String.fromCharCode(random(256))),
  "insert byte": (text, random) =>
    spliced(text, random(text.length + 1), 0, String.fromCharCode(random(256))),
  "insert meaningful bytes": (text, random) =>
    spliced(text, random(text.length + 1), 0, oneOf(ODD_BYTES, random)),
  "replace by meaningful bytes": (text, random) =>
    spliced(text, random(text.length), 1, oneOf(ODD_BYTES, random)),
  shift: (text, random) => {
    const length = 1 + random(12);
    const from = random(text.length);
    const moved = text.slice(from, from + length);
    const rest = spliced(text, from, length, "");
    return spliced(rest, random(rest.length + 1), 0, moved);
  },
  concatenate: (text, random, name) => text + seedOf(random, name),
  duplicate: (text) => text + text,
  "delete header": (text, random) =>
    withHeaders(text, (headers) => headers.splice(random(headers.length), 1)),
  "insert header": (text, random) =>
    withHeaders(text, (headers) =>
      headers.splice(random(headers.length + 1), 0, oneOf(HEADERS, random)),
    ),
  "replace header": (text, random) =>
    withHeaders(text, (headers) =>
      headers.splice(random(headers.length), 1, oneOf(HEADERS, random)),
    ),
  "duplicate header": (text, random) =>
    withHeaders(text, (headers) => headers.push(headers[random(headers.length)] ?? "X-A: b")),
  "replace method": (text, random) => text.replace(/^[^ ]*/, oneOf(METHODS, random)),
  "replace target": (text, random, name) => {
    const target = oneOf(TARGETS, random).replace("NAME", name);
    return text.replace(/ [^ ]* /, () => ` ${target} `);
  },
};

const OPERATOR_NAMES = Object.keys(OPERATORS);

function seedOf(random: Below, name: string): string {
  const limit = random(2) === 0 ? COUNTING_SEEDS : SEEDS.length;
  const make = SEEDS[random(limit)] as (random: Below, name: string) => string;
  return make(random, name);
}

/**
 * One request, changed up to three times; one in twelve not at all, one in eight in two writes. What it counts, it
 * counts for the domain `<name>.example`, unless it was changed there.
 */
export function mutantOf(random: Below, name: string): Mutant {
  let text = seedOf(random, name);
  const operators: string[] = [];
  const changes = random(12) === 0 ? 0 : 1 + (random(3) === 0 ? random(3) : 0);
  for (let i = 0; i < changes && text.length > 0; i++) {
    const operator = OPERATOR_NAMES[random(OPERATOR_NAMES.length)] as string;
    operators.push(operator);
    text = (OPERATORS[operator] as Operator)(text, random, name);
  }
  if (random(8) !== 0 || text.length < 2) return { pieces: [text], operators };
  const at = 1 + random(text.length - 1);
  return { pieces: [text.slice(0, at), text.slice(at)], operators: [...operators, "split"] };
}
