/**
 * Measures how fast one core reads NDJSON events, domain parsing included. Run: npx tsx scripts/bench/ndjson.ts
 */
import { fileURLToPath } from "node:url";
import { EventLineReader } from "../../src/api/event-lines.ts";
import { DomainParser } from "../../src/model/domain-name.ts";
import { startWatch, type Work } from "./figures.ts";

const LINES = 100_000;
const ROUNDS = 20;

function bodyOf(withId: boolean): Uint8Array {
  const lines: string[] = [];
  for (let i = 0; i < LINES; i++) {
    const name = (Math.imul(i, 2654435761) >>> 0).toString(36);
    const id = withId ? `,"id":"event-${i}"` : "";
    lines.push(
      `{"domain":"${name}Mail.example.com","type":"${i % 3 === 0 ? "bounced" : "delivered"}"${id}}`,
    );
  }
  return new TextEncoder().encode(lines.join("\n"));
}

/** The median of twenty times 100,000 lines. */
export function measureNdjson({ withId }: { readonly withId: boolean }): Work {
  const body = bodyOf(withId);
  const parser = new DomainParser();
  const works: Work[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const read = startWatch();
    const reader = new EventLineReader(body, parser);
    let events = 0;
    while (reader.next()) if (reader.error === null) events += reader.count;
    const took = read();
    if (events !== LINES) throw new Error(`read ${events} of ${LINES}`);
    works.push({ count: LINES, ...took });
  }
  return works.sort((a, b) => a.seconds - b.seconds)[ROUNDS >> 1] as Work;
}

function report(label: string, { count, seconds }: Work): void {
  const rate = (count / seconds / 1e6).toFixed(2);
  process.stdout.write(`${label}: ${rate} M lines/s (median of ${ROUNDS})\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  report("anonymous", measureNdjson({ withId: false }));
  report("with id", measureNdjson({ withId: true }));
}
