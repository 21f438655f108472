/** Parsers of bodies and queries: what they take, and that nothing but a CatchallError leaves them. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { isTooDeep, parseJsonBytes } from "../../src/api/json-body.ts";
import * as messages from "../../src/api/messages.ts";
import { CatchallError } from "../../src/model/errors.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
function codeOf(work: () => unknown): string | null {
  try {
    work();
    return null;
  } catch (error) {
    assert.ok(error instanceof CatchallError, String(error));
    return error.code;
  }
}

describe("parseRule", () => {
  it("takes a whole rule, with the ratio null when it is absent", () => {
    assert.deepEqual(messages.parseRule(bytes('{"deliveredThreshold":0,"bouncedThreshold":1}')), {
      deliveredThreshold: 0,
      bouncedThreshold: 1,
      maxBounceRatio: null,
    });
    const rule = messages.parseRule(
      bytes('{"deliveredThreshold":5,"bouncedThreshold":2,"maxBounceRatio":-0}'),
    );
    assert.ok(Object.is(rule.maxBounceRatio, 0));
  });

  it("refuses numbers out of range, wrong types, missing and unknown fields", () => {
    const bad = [
      '{"deliveredThreshold":1e309,"bouncedThreshold":1}',
      '{"deliveredThreshold":-0,"bouncedThreshold":1}',
      '{"deliveredThreshold":1.5,"bouncedThreshold":1}',
      '{"deliveredThreshold":-1,"bouncedThreshold":1}',
      '{"deliveredThreshold":"1","bouncedThreshold":1}',
      '{"deliveredThreshold":1}',
      '{"bouncedThreshold":1}',
      '{"deliveredThreshold":1,"bouncedThreshold":0}',
      '{"deliveredThreshold":1,"bouncedThreshold":null}',
      '{"deliveredThreshold":1,"bouncedThreshold":1,"maxBounceRatio":1.1}',
      '{"deliveredThreshold":1,"bouncedThreshold":1,"maxBounceRatio":-0.1}',
      '{"deliveredThreshold":1,"bouncedThreshold":1,"maxBounceRatio":"0"}',
      '{"deliveredThreshold":1,"bouncedThreshold":1,"deliverdThreshold":1}',
      '{"__proto__":{"deliveredThreshold":1},"bouncedThreshold":1}',
      "[]",
      "null",
      "1",
      '"x"',
    ];
    for (const body of bad)
      assert.equal(
        codeOf(() => messages.parseRule(bytes(body))),
        "invalid_rule",
        body,
      );
  });
});

describe("parseOverride", () => {
  it("takes a status and a reason and nothing else", () => {
    assert.deepEqual(
      messages.parseOverride(bytes('{"status":"not catch-all","reason":"Known trap"}')),
      {
        status: "not catch-all",
        reason: "Known trap",
      },
    );
    const bad = [
      '{"status":"Catch-All","reason":"x"}',
      '{"status":"catch-all"}',
      '{"status":"catch-all","reason":""}',
      '{"status":"catch-all","reason":" "}',
      '{"status":"catch-all","reason":1}',
      '{"status":"catch-all","reason":"a\\nb"}',
      '{"status":"catch-all","reason":"\\ud800"}',
      `{"status":"catch-all","reason":"${"x".repeat(501)}"}`,
      '{"status":"catch-all","reason":"x","until":"tomorrow"}',
      "{}",
      "[]",
    ];
    for (const body of bad)
      assert.equal(
        codeOf(() => messages.parseOverride(bytes(body))),
        "invalid_body",
        body,
      );
  });
});

describe("parseLookup", () => {
  it("takes a list of strings up to the limit", () => {
    assert.deepEqual(messages.parseLookup(bytes('{"domains":["a","b"]}')), ["a", "b"]);
    assert.equal(
      codeOf(() => messages.parseLookup(bytes('{"domains":["a","b","c"]}'), 2)),
      "too_many_domains",
    );
    for (const body of [
      "{}",
      "[]",
      '{"domains":{}}',
      '{"domains":[1]}',
      '{"domains":[null]}',
      "null",
    ]) {
      assert.equal(
        codeOf(() => messages.parseLookup(bytes(body))),
        "invalid_body",
        body,
      );
    }
  });
});

describe("parseJsonBytes", () => {
  it("refuses broken JSON, broken UTF-8 and deep nesting, each with its code", () => {
    const deep = (n: number): string => "[".repeat(n) + "]".repeat(n);
    assert.equal(
      codeOf(() => parseJsonBytes(bytes(deep(100_000)))),
      "invalid_json",
    );
    assert.equal(
      codeOf(() => parseJsonBytes(bytes(deep(33)))),
      "invalid_json",
    );
    assert.equal(
      codeOf(() => parseJsonBytes(bytes(deep(32)))),
      null,
    );
    assert.equal(
      codeOf(() => parseJsonBytes(Uint8Array.of(0x22, 0xff, 0x22))),
      "invalid_utf8",
    );
    for (const text of ["", "{", "{]", "1e", "\u00a01", "NaN"]) {
      assert.equal(
        codeOf(() => parseJsonBytes(bytes(text))),
        "invalid_json",
        text,
      );
    }
    assert.deepEqual(parseJsonBytes(bytes("\ufeff[1]")), [1]);
  });

  it("does not count brackets inside strings", () => {
    const text = bytes(JSON.stringify({ text: `\\"${"[".repeat(100)}` }));
    assert.equal(isTooDeep(text, 0, text.length), false);
  });

  it("throws nothing but CatchallError on any bytes, in any parser", () => {
    const input = fc.oneof(fc.uint8Array({ maxLength: 64 }), fc.json().map(bytes));
    fc.assert(
      fc.property(input, (body) => {
        for (const parse of [
          parseJsonBytes,
          messages.parseRule,
          messages.parseOverride,
          messages.parseLookup,
        ]) {
          codeOf(() => parse(body));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("query parameters", () => {
  it("decodes the first of a name, plus signs as spaces", () => {
    assert.equal(
      messages.queryParameter("a=1&status=not+catch-all&status=x", "status"),
      "not catch-all",
    );
    assert.equal(messages.queryParameter("a=1", "b"), null);
    assert.equal(messages.statusParameter("status=not%20catch-all"), "not catch-all");
    assert.equal(messages.statusParameter("status="), null);
  });

  it("answers invalid_parameter to wrong values", () => {
    assert.equal(
      codeOf(() => messages.queryParameter("a=%zz", "a")),
      "invalid_parameter",
    );
    assert.equal(
      codeOf(() => messages.statusParameter("status=x")),
      "invalid_parameter",
    );
    for (const limit of ["0", "-1", "1.5", "1e3", "1001", "x", "9999999999"]) {
      assert.equal(
        codeOf(() => messages.limitParameter(`limit=${limit}`, 100, 1000)),
        "invalid_parameter",
        limit,
      );
    }
    assert.equal(messages.limitParameter("", 100, 1000), 100);
    assert.equal(messages.limitParameter("limit=1000", 100, 1000), 1000);
    assert.equal(
      codeOf(() => messages.booleanParameter("dryRun=yes", "dryRun")),
      "invalid_parameter",
    );
    assert.deepEqual(
      ["", "dryRun", "dryRun=true", "dryRun=false"].map((q) =>
        messages.booleanParameter(q, "dryRun"),
      ),
      [false, true, true, false],
    );
  });
});
