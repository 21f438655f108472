/**
 * The byte scanner against JSON.parse: same answer for every line, at every truncation.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EventLineReader } from "../../src/api/event-lines.ts";
import { EventArrayReader, type EventReader } from "../../src/api/event-object.ts";
import { DomainParser } from "../../src/model/domain-name.ts";

const encoder = new TextEncoder();

function readAll(reader: EventReader, parser: DomainParser): unknown[] {
  const out: unknown[] = [];
  while (reader.next()) {
    if (reader.error !== null) out.push([reader.index, reader.error]);
    else out.push([reader.index, parser.name(), reader.kind, reader.count, reader.eventId]);
  }
  return out;
}

function readLines(body: string | Uint8Array): unknown[] {
  const parser = new DomainParser();
  const bytes = typeof body === "string" ? encoder.encode(body) : body;
  return readAll(new EventLineReader(bytes, parser), parser);
}

function readArray(values: readonly unknown[]): unknown[] {
  const parser = new DomainParser();
  return readAll(new EventArrayReader(values, parser), parser);
}

/** What a reader without a fast path would answer. */
function readByJson(body: string): unknown[] {
  const out: unknown[] = [];
  for (const line of body.split("\n")) {
    if (/^[ \t\r]*$/.test(line)) continue;
    let value: unknown;
    try {
      value = JSON.parse(line) as unknown;
    } catch {
      out.push([out.length, "invalid_json"]);
      continue;
    }
    const [read] = readArray([value]) as [unknown[]];
    out.push([out.length, ...read.slice(1)]);
  }
  return out;
}

const OK = '{"domain":"a.example.com","type":"delivered"}';

describe("EventLineReader", () => {
  it("reads both types, counts and ids in any order of keys and with spaces", () => {
    const body = [
      OK,
      '{"type":"bounced","domain":"b.example.com"}',
      ' {\t"count" : 12 , "id": "k-1", "type":"bounced" ,"domain":"c.example.com" } \r',
      '{"domain":"d.example.com","type":"delivered","count":1000000}',
    ].join("\n");
    assert.deepEqual(readLines(body), [
      [0, "a.example.com", 0, 1, null],
      [1, "b.example.com", 1, 1, null],
      [2, "c.example.com", 1, 12, "k-1"],
      [3, "d.example.com", 0, 1_000_000, null],
    ]);
  });

  it("skips empty lines without counting them, takes CRLF, BOM and a last line without newline", () => {
    const body = `\ufeff\r\n${OK}\r\n\r\n  \n${OK}`;
    assert.deepEqual(readLines(body), [
      [0, "a.example.com", 0, 1, null],
      [1, "a.example.com", 0, 1, null],
    ]);
    assert.deepEqual(readLines(""), []);
    assert.deepEqual(readLines("\n\r\n \n"), []);
  });

  it("names the error of a wrong line and goes on with the next", () => {
    const rows: [string, string][] = [
      ["{", "invalid_json"],
      ["[]", "invalid_event"],
      ["null", "invalid_event"],
      ["1", "invalid_event"],
      ["{}", "invalid_event"],
      ['{"domain":1,"type":"bounced"}', "invalid_event"],
      ['{"domain":"a.example.com","type":"opened"}', "invalid_event_type"],
      ['{"domain":"a.example.com","type":"Delivered"}', "invalid_event_type"],
      ...[
        "0",
        "-1",
        "1.5",
        "1e309",
        "-0",
        "1000001",
        '"1"',
        "null",
        "99999999999999999999",
        "true",
        "[1]",
      ].map((count): [string, string] => [
        `{"domain":"a.example.com","type":"bounced","count":${count}}`,
        "invalid_count",
      ]),
      ...["01", "+1", "1.", "0x1", "NaN"].map((count): [string, string] => [
        `{"domain":"a.example.com","type":"bounced","count":${count}}`,
        "invalid_json",
      ]),
      ...['""', '"a b"', "1", "null", '"é"', `"${"x".repeat(256)}"`, '"\\n"', '"\\u007f"'].map(
        (id): [string, string] => [
          `{"domain":"a.example.com","type":"bounced","id":${id}}`,
          "invalid_event_id",
        ],
      ),
      ["[".repeat(100_000), "invalid_json"],
      [`{"domain":${"[".repeat(50)}${"]".repeat(50)},"type":"bounced"}`, "invalid_json"],
      ['{"__proto__":{"domain":"a.example.com","type":"bounced"}}', "invalid_event"],
      ['{"domain":"a.example.com","type":"delivered"}x', "invalid_json"],
      ['{"domain":"a.example.com","type":"delivered",}', "invalid_json"],
      ['\ufeff{"domain":"a.example.com","type":"delivered"}', "invalid_json"],
    ];
    for (const [line, code] of rows) {
      assert.deepEqual(
        readLines(`${OK}\n${line}\n${OK}\n`),
        [
          [0, "a.example.com", 0, 1, null],
          [1, code],
          [2, "a.example.com", 0, 1, null],
        ],
        line.slice(0, 100),
      );
    }
  });

  it("takes what JSON takes: escapes, unknown fields, repeated keys, 1e3 as a count", () => {
    const domain = "a.example.com";
    assert.deepEqual(readLines('{"domain":"\\u0061.example.com","type":"delivered"}'), [
      [0, domain, 0, 1, null],
    ]);
    assert.deepEqual(readLines('{"domain":"a.example.com","type":"bounced","x":{"y":[1]}}'), [
      [0, domain, 1, 1, null],
    ]);
    assert.deepEqual(
      readLines('{"domain":"b.example.com","type":"bounced","domain":"a.example.com"}'),
      [[0, domain, 1, 1, null]],
    );
    assert.deepEqual(readLines('{"domain":"a.example.com","type":"bounced","count":1e3}'), [
      [0, domain, 1, 1000, null],
    ]);
    assert.deepEqual(
      readLines('{"domain":"a.example.com","type":"bounced","__proto__":{"count":7}}'),
      [[0, domain, 1, 1, null]],
    );
  });

  it("answers invalid_utf8 for the broken line only", () => {
    const good = encoder.encode(`${OK}\n`);
    for (const bad of [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xe2, 0x82]]) {
      const line = Uint8Array.from([
        ...encoder.encode('{"domain":"'),
        ...bad,
        ...encoder.encode('","type":"bounced"}\n'),
      ]);
      assert.deepEqual(readLines(Uint8Array.from([...good, ...line, ...good])), [
        [0, "a.example.com", 0, 1, null],
        [1, "invalid_utf8"],
        [2, "a.example.com", 0, 1, null],
      ]);
    }
  });

  it("rejects a last line that is cut anywhere", () => {
    const line = '{"count":3,"id":"abc","domain":"a.example.com","type":"bounced"}';
    for (let length = 1; length < line.length; length++) {
      assert.deepEqual(readLines(`${OK}\n${line.slice(0, length)}`), [
        [0, "a.example.com", 0, 1, null],
        [1, "invalid_json"],
      ]);
    }
  });

  it("reads a body that is a view into a larger buffer", () => {
    const bytes = encoder.encode(`xx{"domain":"a.example.com","type":"bounced","id":"k9"}yy`);
    assert.deepEqual(readLines(bytes.subarray(2, bytes.length - 2)), [
      [0, "a.example.com", 1, 1, "k9"],
    ]);
  });

  it("answers as JSON.parse does for every generated line", () => {
    const space = fc.constantFrom("", "", "", " ", "\t", "\r", "  ");
    const key = fc.constantFrom(
      '"domain"',
      '"type"',
      '"count"',
      '"id"',
      '"Domain"',
      '"typ"',
      '"counts"',
      '"\\u0069d"',
    );
    const value = fc.oneof(
      fc.constantFrom(
        '"delivered"',
        '"bounced"',
        '"a.example.com"',
        '"B.Example.COM."',
        '"key-1"',
        '"x y"',
        '"bücher.example"',
      ),
      fc.constantFrom(
        "1",
        "0",
        "-1",
        "1.5",
        "1e2",
        "1000000",
        "1000001",
        "01",
        "null",
        "true",
        "{}",
        '["a"]',
        '""',
        '"',
      ),
      fc.integer().map(String),
      fc.json(),
    );
    const typed = fc.constantFrom(
      '"domain":"a.example.com"',
      '"type":"bounced"',
      '"type":"delivered"',
      '"count":7',
      '"id":"abc-1"',
    );
    const pair = fc.oneof(
      { weight: 3, arbitrary: typed },
      {
        weight: 1,
        arbitrary: fc.tuple(key, space, space, value).map(([k, a, b, v]) => `${k}${a}:${b}${v}`),
      },
    );
    const line = fc
      .tuple(
        space,
        fc.array(
          fc.tuple(space, pair, space).map((t) => t.join("")),
          { maxLength: 5 },
        ),
        space,
      )
      .map(([before, pairs, after]) => `${before}{${pairs.join(",")}}${after}`);
    const mutated = fc
      .tuple(line, fc.nat(), fc.constantFrom("", '"', "{", "}", ",", "\\", "\n", "é"))
      .map(([text, at, by]) => {
        const i = at % (text.length + 1);
        return by === "" ? text : text.slice(0, i) + by + text.slice(i + 1);
      });
    const body = fc
      .array(fc.oneof(line, mutated), { maxLength: 6 })
      .map((lines) => lines.join("\n"));
    fc.assert(
      fc.property(body, (text) => assert.deepEqual(readLines(text), readByJson(text))),
      { numRuns: 3000 },
    );
  });

  it("never throws on any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        assert.ok(Array.isArray(readLines(bytes)));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("EventArrayReader", () => {
  it("numbers all elements and validates each alone", () => {
    assert.deepEqual(
      readArray([
        { domain: "a.example.com", type: "bounced" },
        1,
        { domain: "b.example.com", type: "delivered", count: 2 },
      ]),
      [
        [0, "a.example.com", 1, 1, null],
        [1, "invalid_event"],
        [2, "b.example.com", 0, 2, null],
      ],
    );
  });
});
