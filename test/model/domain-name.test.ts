/**
 * The vectors of the contract, and the properties that hold for every input: total, idempotent, text and bytes agree.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { DomainParser } from "../../src/model/domain-name.ts";
import { ERROR_CODES } from "../../src/model/errors.ts";
import { hash32 } from "../../src/model/hash32.ts";

const parser = new DomainParser();

/** The canonical name, or the error code in angle brackets. */
function parse(text: string, isPercentEncoded = false): string {
  const error = parser.parseText(text, isPercentEncoded);
  return error === null ? parser.name() : `<${error}>`;
}

function parseUtf8(bytes: Uint8Array): string {
  const error = parser.parseBytes(bytes, 0, bytes.length);
  return error === null ? parser.name() : `<${error}>`;
}

const label63 = "a".repeat(63);
const name253 = `${`${"a".repeat(62)}.`.repeat(3)}${"b".repeat(60)}.com`;

const TEXT_VECTORS: readonly (readonly [string, string])[] = [
  ["EXAMPLE.Com", "example.com"],
  ["example.com.", "example.com"],
  ["a.co", "a.co"],
  ["1.com", "1.com"],
  ["0x7f.com", "0x7f.com"],
  ["a-b.cc--d.com", "<hyphen34>"],
  ["a-b.c--d.com", "a-b.c--d.com"],
  ["a-b.cc-d.com", "a-b.cc-d.com"],
  ["", "<empty>"],
  [".", "<empty_label>"],
  ["..", "<empty_label>"],
  ["example.com..", "<empty_label>"],
  [".a.com", "<empty_label>"],
  ["a..b", "<empty_label>"],
  ["localhost", "<single_label>"],
  ["com", "<single_label>"],
  ["com.", "<single_label>"],
  ["__proto__", "<single_label>"],
  ["constructor", "<single_label>"],
  ["toString", "<single_label>"],
  ["constructor.com", "constructor.com"],
  ["toString.com", "tostring.com"],
  ["hasownproperty.com", "hasownproperty.com"],
  ["a.b", "<tld_short>"],
  ["foo.123", "<numeric_tld>"],
  ["foo.1", "<numeric_tld>"],
  ["foo.a1", "<numeric_tld>"],
  ["foo.0x7f", "<numeric_tld>"],
  ["foo.c_m", "<numeric_tld>"],
  ["foo.c-m", "<numeric_tld>"],
  ["1.2.3.4", "<ip>"],
  ["1.2.3.4.", "<ip>"],
  ["0x7f.1", "<ip>"],
  ["0X7F.1", "<ip>"],
  ["127.1", "<ip>"],
  ["017700000001", "<ip>"],
  ["2130706433", "<ip>"],
  ["1.2.3", "<ip>"],
  ["１.２.３.４", "<ip>"],
  ["[1.2.3.4]", "<literal>"],
  ["[IPv6:::1]", "<literal>"],
  ["::1", "<literal>"],
  ["2001:db8::1", "<literal>"],
  ["::ffff:1.2.3.4", "<literal>"],
  ["-a.com", "<hyphen>"],
  ["a-.com", "<hyphen>"],
  ["a.-b.com", "<hyphen>"],
  ["ab--cd.com", "<hyphen34>"],
  ["ab--cd.bücher.de", "<hyphen34>"],
  ["a_--b.bücher.de", "<hyphen34>"],
  [`${label63}.com`, `${label63}.com`],
  [`${label63}a.com`, "<label_long>"],
  [name253, name253],
  [`${name253}.`, name253],
  [`b${name253}`, "<too_long>"],
  [`bb${name253}`, "<too_long>"],
  [`xn--bcher-kva.${name253}`, "<too_long>"],
  ["a".repeat(100_000), "<too_long>"],
  [`${"*".repeat(1025)}`, "<too_long>"],
  [`${"é".repeat(513)}`, "<too_long>"],
  [`${"é".repeat(300)}.com`, "<too_long>"],
];

const UNDERSCORE_VECTORS: readonly (readonly [string, string])[] = [
  ["_dmarc.a.com", "_dmarc.a.com"],
  ["_DMARC.A.com", "_dmarc.a.com"],
  ["a_b.com", "a_b.com"],
  ["_.com", "_.com"],
  ["a_.com", "a_.com"],
  ["x.a_b._c.com", "x.a_b._c.com"],
  ["_dmarc.bücher.de", "_dmarc.xn--bcher-kva.de"],
  ["_dmarc.xn--bcher-kva.de", "_dmarc.xn--bcher-kva.de"],
  ["-_.com", "<hyphen>"],
];

const ADDRESS_VECTORS: readonly (readonly [string, string])[] = [
  ["user@x.com", "x.com"],
  ["User.Name+tag@X.Com", "x.com"],
  ["bounce=a/b=c@x.com", "x.com"],
  ["jürgen@bücher.de", "xn--bcher-kva.de"],
  ["@x.com", "<bad_char>"],
  ["a@b@x.com", "<bad_char>"],
  ["a b@x.com", "<bad_char>"],
  ["a\n@x.com", "<bad_char>"],
  ["<user@x.com", "<bad_char>"],
  ["<user@x.com>", "<bad_char>"],
  ["mailto:user@x.com", "<bad_char>"],
  ['"a b"@x.com', "<bad_char>"],
  ["user@", "<empty>"],
  ["user@localhost", "<single_label>"],
  ["user@[1.2.3.4]", "<literal>"],
  ["user@1.2.3.4", "<ip>"],
  ["user＠x.com", "<bad_char>"],
];

const IDN_VECTORS: readonly (readonly [string, string])[] = [
  ["bücher.de", "xn--bcher-kva.de"],
  ["BÜCHER.DE", "xn--bcher-kva.de"],
  ["bu\u0308cher.de", "xn--bcher-kva.de"],
  ["xn--bcher-kva.de", "xn--bcher-kva.de"],
  ["XN--BCHER-KVA.de", "xn--bcher-kva.de"],
  ["faß.de", "xn--fa-hia.de"],
  ["fass.de", "fass.de"],
  ["FAẞ.DE", "xn--fa-hia.de"],
  ["例え。テスト", "xn--r8jz45g.xn--zckzah"],
  ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
  ["例え\uff0eテスト", "xn--r8jz45g.xn--zckzah"],
  ["例え\uff61テスト", "xn--r8jz45g.xn--zckzah"],
  ["例え.テスト。", "xn--r8jz45g.xn--zckzah"],
  ["a.xn--p1ai", "a.xn--p1ai"],
  ["１.com", "1.com"],
  ["ﬁ.com", "fi.com"],
  ["İ.com", "xn--i-9bb.com"],
  ["аpple.com", "xn--pple-43d.com"],
  ["apple.com", "apple.com"],
  ["xn--a", "<bad_punycode>"],
  ["xn--a.com", "<bad_punycode>"],
  ["xn--.com", "<bad_punycode>"],
  ["xn--abc-.com", "<bad_punycode>"],
  ["xn--zca.xn--", "<bad_punycode>"],
  ["xn--ls8h=", "<bad_punycode>"],
  ["xn--a_b.com", "<bad_punycode>"],
  ["ü.xn--a.com", "<bad_punycode>"],
  ["bücher..de", "<empty_label>"],
  ["bücher", "<single_label>"],
  ["-ü.de", "<hyphen>"],
];

const BAD_CHARACTERS: readonly string[] = [
  ..."\u0000\n\r\t \u007f\u0085\u00a0%/\\?#:<>[]^|\"*$,;(){}=!&'+`~",
  ..."\u00ad\u200b\u2060\ufeff\ufe0f\u034f\u{e0001}", // They show nothing.
  ..."\u061c\u200e\u200f\u202a\u202e\u2066\u2069", // They turn the reading direction.
  ..."\u200d\u200c\u2100\u2028\ufffd\uffff", // No context for joiners; no letters.
];

const PERCENT_VECTORS: readonly (readonly [string, string])[] = [
  ["ex%61mple.com", "example.com"],
  ["EX%41MPLE%2Ecom", "example.com"],
  ["b%C3%BCcher.de", "xn--bcher-kva.de"],
  ["b\u00fccher.de", "xn--bcher-kva.de"],
  ["user%40x.com", "x.com"],
  ["user%2540x.com", "<bad_char>"],
  ["ex%2561mple.com", "<bad_char>"],
  ["%2e%2e", "<empty_label>"],
  ["a%00.com", "<bad_char>"],
  ["a%2Fb.com", "<bad_char>"],
  ["%C0%AE", "<bad_encoding>"],
  ["%ED%A0%80", "<bad_encoding>"],
  ["%FF", "<bad_encoding>"],
  ["%zz", "<bad_encoding>"],
  ["%", "<bad_encoding>"],
  ["a%2", "<bad_encoding>"],
  ["%61".repeat(342), "<too_long>"],
];

function checkVectors(vectors: readonly (readonly [string, string])[], isEncoded = false): void {
  for (const [input, expected] of vectors) {
    assert.equal(parse(input, isEncoded), expected, JSON.stringify(input.slice(0, 300)));
    if (!isEncoded) assert.equal(parseUtf8(Buffer.from(input)), expected, "as bytes");
  }
}

describe("DomainParser", () => {
  it("answers the vectors of plain names", () => checkVectors(TEXT_VECTORS));
  it("allows underscores anywhere but in the last label", () => checkVectors(UNDERSCORE_VECTORS));
  it("counts an e-mail address for its domain part", () => checkVectors(ADDRESS_VECTORS));
  it("maps internationalised names to one key", () => checkVectors(IDN_VECTORS));
  it("decodes percent-encoding once", () => checkVectors(PERCENT_VECTORS, true));

  it("takes a percent sign as a character where nothing is encoded", () => {
    assert.equal(parse("ex%61mple.com"), "<bad_char>");
  });

  it("refuses characters that have no place in a name", () => {
    for (const char of BAD_CHARACTERS) {
      const code = char.codePointAt(0)?.toString(16);
      for (const text of [`a${char}b.com`, `a.com${char}`, `ü${char}.com`]) {
        assert.equal(parse(text), "<bad_char>", `U+${code} in ${JSON.stringify(text)}`);
      }
    }
    for (const text of ["*", "a*b.com", "a.>", ">", "$JS.API.com", "a.b.*", "example.com:80"]) {
      assert.equal(parse(text), "<bad_char>", text);
    }
  });

  it("refuses broken UTF-8 and lone surrogates", () => {
    for (const hex of ["c0ae", "eda080", "ff", "61c3", "f4908080", "80"]) {
      const bytes = Buffer.concat([Buffer.from(hex, "hex"), Buffer.from(".com")]);
      assert.equal(parseUtf8(bytes), "<bad_encoding>", hex);
    }
    assert.equal(parse("\ud800.com"), "<bad_encoding>");
    assert.equal(parse("\udc00.com", true), "<bad_encoding>");
  });

  it("does not take a byte order mark for nothing", () => {
    assert.equal(parseUtf8(Buffer.from("\ufeffa.com")), "<bad_char>");
  });

  it("makes one key of names that differ only in case", () => {
    const keys = new Set<string>();
    for (let bits = 0; bits < 10_000; bits++) {
      const label = [..."abcdefghijklmn"].map((c, i) => ((bits >> i) & 1 ? c.toUpperCase() : c));
      keys.add(parse(`${label.join("")}.com`));
    }
    assert.deepEqual([...keys], ["abcdefghijklmn.com"]);
  });

  it("sets bytes, length and hash of the name, of a slice too", () => {
    const body = Buffer.from('{"domain":"ExAmple.Com."}');
    assert.equal(parser.parseBytes(body, 11, 23), null);
    assert.equal(parser.length, 11);
    assert.equal(Buffer.from(parser.bytes.subarray(0, 11)).toString(), "example.com");
    assert.equal(parser.hash, hash32(Buffer.from("example.com"), 0, 11));
    assert.equal(parser.name(), "example.com");
  });

  it("keeps nothing of the name before", () => {
    assert.equal(parse(name253), name253);
    assert.equal(parse("a.co"), "a.co");
    assert.equal(parse("xn--bcher-kva.de"), "xn--bcher-kva.de");
    assert.equal(parse("a.b"), "<tld_short>");
    assert.equal(parse("xn.co"), "xn.co");
  });
});

/** Text near the borders of the rules: pieces of names, signs, invisible characters, any Unicode. */
const nearName: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(..."abzAZ019-_....") },
      {
        weight: 3,
        arbitrary: fc.constantFrom(
          "xn--",
          "com",
          "bcher-kva",
          "%61",
          "%C3%BC",
          "@",
          "ü",
          "ß",
          "例",
          "א",
          "ب",
          "\u0308",
          "\u200d",
          "\u00ad",
          "。",
          "\u2026",
          "İ",
          ":",
          "0x",
          "[",
          "\ud800",
        ),
      },
      { weight: 1, arbitrary: fc.string({ unit: "binary", minLength: 1, maxLength: 3 }) },
    ),
    { maxLength: 14 },
  )
  .map((pieces) => pieces.join(""));

const CANONICAL =
  /^(?=.{4,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{1,59})$/;

describe("DomainParser on any input", () => {
  it("is total and idempotent, over 100 000 texts", () => {
    let accepted = 0;
    const check = (text: string, isPercentEncoded: boolean): void => {
      const error = parser.parseText(text, isPercentEncoded);
      if (error !== null) {
        assert.equal(ERROR_CODES[error].status, 400);
        return;
      }
      accepted++;
      const name = parser.name();
      const hash = parser.hash;
      assert.match(name, CANONICAL);
      assert.equal(parse(name, true), name);
      assert.equal(parse(`${name}.`), name);
      assert.equal(parse(name.toUpperCase()), name);
      assert.equal(parser.hash, hash);
    };
    fc.assert(fc.property(nearName, fc.boolean(), check), { numRuns: 60_000 });
    const named = nearName.map((text) => `${text}.com`);
    fc.assert(fc.property(named, fc.boolean(), check), { numRuns: 40_000 });
    assert.ok(accepted > 1000, `only ${accepted} accepted`);
  });

  it("gives one answer for text and for its bytes", () => {
    const wellFormed = nearName.filter((text) => !/\p{Surrogate}/u.test(text));
    fc.assert(
      fc.property(wellFormed, (text) => {
        assert.equal(parseUtf8(Buffer.from(text)), parse(text));
      }),
      { numRuns: 20_000 },
    );
  });

  it("is total over bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const error = parser.parseBytes(bytes, 0, bytes.length);
        assert.ok(error === null || ERROR_CODES[error].status === 400);
      }),
      { numRuns: 20_000 },
    );
  });
});
