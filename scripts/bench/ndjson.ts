/**
 * Measures how fast one core reads NDJSON events, domain parsing included. Run: npx tsx scripts/bench/ndjson.ts
 */
import { performance } from "node:perf_hooks";
import { EventLineReader } from "../../src/api/event-lines.ts";
import { DomainParser } from "../../src/model/domain-name.ts";

const LINES = 100_000;

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

function measure(label: string, body: Uint8Array): void {
  const parser = new DomainParser();
  let best = 0;
  for (let round = 0; round < 20; round++) {
    const start = performance.now();
    const reader = new EventLineReader(body, parser);
    let events = 0;
    while (reader.next()) if (reader.error === null) events += reader.count;
    const seconds = (performance.now() - start) / 1000;
    if (events !== LINES) throw new Error(`read ${events} of ${LINES}`);
    best = Math.max(best, LINES / seconds);
  }
  process.stdout.write(`${label}: ${(best / 1e6).toFixed(2)} M lines/s (best of 20)\n`);
}

measure("anonymous", bodyOf(false));
measure("with id", bodyOf(true));
