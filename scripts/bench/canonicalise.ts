/**
 * Measures canonicalisation on one core: names per second for text (URL paths) and bytes (bulk bodies), by kind of
 * name. Run: npx tsx scripts/bench/canonicalise.ts
 */
import { DomainParser } from "../../src/model/domain-name.ts";

const NAMES = 4096;
const RUN_MS = 600;

function manyNames(make: (i: number) => string): string[] {
  return Array.from({ length: NAMES }, (_, i) => make(i));
}

const KINDS: Readonly<Record<string, readonly string[]>> = {
  plain: manyNames((i) => `mail${(i * 2654435761) >>> 0}.example${i % 97}.com`),
  "mixed case": manyNames((i) => `QwErTyUiOp${i.toString(36).toUpperCase()}.CoM`),
  "long (253)": manyNames((i) => `${`${"a".repeat(59)}.`.repeat(4)}${1000 + i}.a-b.com`),
  "e-mail": manyNames((i) => `user${i}@example${i}.org`),
  refused: manyNames((i) => `host-${i}`),
  "non-ascii": manyNames((i) => `bücher${i}.de`),
  "xn--": manyNames((i) => `xn--bcher${i}-kva.de`),
};

/** Runs `parseAll` over the names until RUN_MS have passed; returns names per second. */
function rateOf(parseAll: () => number): number {
  parseAll();
  const start = performance.now();
  let parsed = 0;
  while (performance.now() - start < RUN_MS) parsed += parseAll();
  return (parsed / (performance.now() - start)) * 1000;
}

const parser = new DomainParser();
let sink = 0;

for (const [kind, names] of Object.entries(KINDS)) {
  const bytes = Buffer.from(names.join(""));
  const ends: number[] = [];
  let end = 0;
  for (const name of names) {
    end += Buffer.byteLength(name);
    ends.push(end);
  }
  const textRate = rateOf(() => {
    for (const name of names) {
      parser.parseText(name, true);
      sink ^= parser.hash;
    }
    return names.length;
  });
  const bytesRate = rateOf(() => {
    let start = 0;
    for (const nameEnd of ends) {
      parser.parseBytes(bytes, start, nameEnd);
      sink ^= parser.hash;
      start = nameEnd;
    }
    return names.length;
  });
  const [text, raw] = [textRate, bytesRate].map((rate) =>
    Math.round(rate).toLocaleString("en-GB").padStart(12),
  );
  console.log(`${kind.padEnd(12)} text ${text}/s   bytes ${raw}/s`);
}
console.log(`checksum ${sink >>> 0}`);
