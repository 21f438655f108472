/**
 * Unicode's own conformance file for UTS-46 (version 16.0.0, non-transitional columns) against the parser: what the
 * file refuses is refused, what it maps is mapped alike or refused by a rule of ours that UTS-46 does not have.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import { DomainParser } from "../../src/model/domain-name.ts";
import type { ErrorCode } from "../../src/model/errors.ts";
import { hasIgnorable, mapToAscii } from "../../src/model/idna-mapping.ts";

interface Row {
  readonly source: string;
  readonly ascii: string;
  /** Status codes of toASCII; empty: the file accepts. */
  readonly codes: readonly string[];
}

const FILE = new URL("./data/IdnaTestV2-16.0.0.txt.gz", import.meta.url);

/** Rules beyond UTS-46: a mail domain has two labels, a last label of letters, and is no address. */
const OWN_RULES: readonly ErrorCode[] = [
  "single_label",
  "tld_short",
  "numeric_tld",
  "ip",
  "literal",
];
const NEVER_IN_NAME = /[\p{Cc}\s%/\\?#@:<>[\]^|"*$,;(){}]/u;

function textOf(column: string): string {
  if (column === '""') return "";
  return column.replace(/\\u([0-9A-F]{4})|\\x\{([0-9A-F]+)\}/gi, (_, short, long) =>
    short === undefined
      ? String.fromCodePoint(Number.parseInt(long, 16))
      : String.fromCharCode(Number.parseInt(short, 16)),
  );
}

function codesOf(column: string): readonly string[] {
  return column
    .replace(/[[\]\s]/g, "")
    .split(",")
    .filter((code) => code !== "");
}

function readRows(): readonly Row[] {
  const rows: Row[] = [];
  for (const line of gunzipSync(readFileSync(FILE)).toString("utf8").split("\n")) {
    const columns = line
      .replace(/#.*$/, "")
      .split(";")
      .map((column) => column.trim());
    if (columns.length < 5) continue;
    const [source = "", unicode = "", unicodeCodes = "", ascii = "", asciiCodes = ""] = columns;
    const mapped = ascii || unicode || source;
    rows.push({
      source: textOf(source),
      ascii: textOf(mapped),
      codes: codesOf(asciiCodes === "" ? unicodeCodes : asciiCodes),
    });
  }
  return rows;
}

const parser = new DomainParser();
const rows = readRows();

/** The file counts the root's empty label as an error of length; we drop one trailing dot. */
function isOnlyTrailingDot(row: Row): boolean {
  if (row.codes.length === 0 || row.codes.some((code) => code !== "A4_2")) return false;
  const labels = row.ascii.replace(/\.$/, "").split(".");
  return row.ascii.length <= 254 && labels.every((label) => /^.{1,63}$/.test(label));
}

function isOwnRule(error: ErrorCode, source: string): boolean {
  if (error === "bad_char") return NEVER_IN_NAME.test(source) || hasIgnorable(source);
  return OWN_RULES.includes(error);
}

describe("IdnaTestV2 of Unicode 16", () => {
  it("is read whole", () => {
    assert.equal(rows.length, 6389);
    assert.equal(rows.filter((row) => row.codes.length === 0).length, 546);
  });

  it("refuses every name that the file refuses", () => {
    const accepted: unknown[] = [];
    for (const row of rows) {
      if (row.codes.length === 0 || isOnlyTrailingDot(row)) continue;
      const error = parser.parseText(row.source, false);
      if (error === null) accepted.push([row.source, row.codes, parser.name()]);
    }
    assert.deepEqual(accepted, []);
  });

  it("maps every other name as the file does, or refuses it by a rule of its own", () => {
    const wrong: unknown[] = [];
    let equal = 0;
    for (const row of rows) {
      if (row.codes.length > 0 && !isOnlyTrailingDot(row)) continue;
      // Under a common last label, the rules of our own about the last label are met.
      for (const suffix of ["", ".com"]) {
        const source =
          suffix === "" ? row.source : row.source.replace(/[.\u3002\uff0e\uff61]$/, "") + suffix;
        const expected = row.ascii.replace(/\.$/, "") + suffix;
        const error = parser.parseText(source, false);
        if (expected.length > 253) assert.equal(error, "too_long");
        else if (error === null && parser.name() === expected) equal++;
        else if (error === null) wrong.push([source, expected, parser.name()]);
        else if (!isOwnRule(error, source)) wrong.push([source, expected, error]);
      }
    }
    assert.deepEqual(wrong, []);
    assert.ok(equal > 850, `only ${equal} equal`);
  });

  it("maps its own result to itself", () => {
    for (const row of rows) {
      if (parser.parseText(row.source, false) !== null) continue;
      const name = parser.name();
      assert.equal(parser.parseText(name, false), null, name);
      assert.equal(parser.name(), name);
    }
  });
});

describe("mapToAscii", () => {
  it("keeps labels with underscores aside, whatever stands beside them", () => {
    assert.deepEqual(mapToAscii("_dmarc.bücher.de"), {
      ascii: "_dmarc.xn--bcher-kva.de",
      error: null,
    });
    assert.equal(mapToAscii("_A_b.עברית.com").ascii, "_a_b.xn--5dbqzzl.com");
  });

  it("refuses an underscore inside a label that needs punycode", () => {
    assert.equal(mapToAscii("bü_cher.de").error, "bad_char");
    assert.equal(mapToAscii("xn--b_cher-kva.de").error, "bad_punycode");
  });

  it("refuses underscores beside characters that map to dots", () => {
    assert.equal(mapToAscii("a\u2026b._c.ü").error, "bad_char");
  });

  it("says which hyphen rule is broken", () => {
    assert.equal(mapToAscii("-ü.de").error, "hyphen");
    assert.equal(mapToAscii("ab--ü.de").error, "hyphen34");
  });

  it("never throws on punycode that decodes to no character", () => {
    for (const tail of ["5469999", "a", "-", "--", "0x110000", ""]) {
      assert.equal(mapToAscii(`xn--${tail}.com`).error, "bad_punycode", tail);
    }
  });
});

describe("hasIgnorable", () => {
  it("equals Unicode's Default_Ignorable_Code_Point but for the two joiners", () => {
    const differing: number[] = [];
    for (let code = 0; code <= 0x10ffff; code++) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const char = String.fromCodePoint(code);
      if (hasIgnorable(char) !== /\p{Default_Ignorable_Code_Point}/u.test(char)) {
        differing.push(code);
      }
    }
    assert.deepEqual(differing, [0x200c, 0x200d]);
  });
});
