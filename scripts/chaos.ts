/**
 * `npm run chaos -- --minutes M [--seed S]`: real nodes, a real nats-server and mongod and clients behind faulty links,
 * through kills, freezes, stops, restarts, moves, lost acknowledgements and broken networks; every answer is judged.
 * Goal: acknowledged events count exactly once, refused ones never, reads never lie, and all of it comes back by itself.
 * Exit 1 on a violation; history and logs are then kept. Runs the built product: `npm run build` first.
 */

import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runChaos } from "./chaos/chaos-run.ts";
import { runDroppedAcks } from "./chaos/dropped-acks.ts";
import { FAULT_KINDS, type FaultKind } from "./chaos/fault-plan.ts";
import { SERIES_NAMES, type SeriesOptions } from "./chaos/fault-series.ts";
import { linesOfDroppedAcks, linesOfReport } from "./chaos/report.ts";

const MINUTE_MS = 60_000;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "5" },
      seed: { type: "string", default: "1" },
      "round-seconds": { type: "string", default: "60" },
      nodes: { type: "string", default: "3" },
      /** nats-servers: 1 or 3. */
      nats: { type: "string", default: "1" },
      rate: { type: "string", default: "300" },
      "lease-ttl-ms": { type: "string", default: "2000" },
      /** Comma-separated; default: all. */
      kinds: { type: "string" },
      /** Built product to run instead of dist/: with a defect, to see it found. */
      product: { type: "string" },
      /** Instead of a plan: one kind of fault so many times, `owner-kills=300`. */
      series: { type: "string" },
      /** Instead of all that: every k-th acknowledgement of a script of so many operations gets lost. */
      "dropped-acks": { type: "string" },
    },
  });
  const onLine = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  const leaseTtlMs = Number(values["lease-ttl-ms"]);
  if (values["dropped-acks"] !== undefined) {
    const operations = Number(values["dropped-acks"]);
    const report = await runDroppedAcks({ operations, leaseTtlMs, onLine });
    for (const line of linesOfDroppedAcks(report)) onLine(line);
    return report.violations.length === 0 ? 0 : 1;
  }
  const kinds = values.kinds?.split(",").map(kindOf);
  const report = await runChaos({
    seed: Number(values.seed),
    durationMs: Number(values.minutes) * MINUTE_MS,
    roundMs: Number(values["round-seconds"]) * 1000,
    nodes: Number(values.nodes),
    nats: natsOf(values.nats),
    rate: Number(values.rate),
    leaseTtlMs,
    ...(kinds === undefined ? {} : { kinds }),
    ...(values.series === undefined ? {} : { series: seriesOf(values.series) }),
    ...{ product: values.product, onLine },
  });
  for (const line of linesOfReport(report)) onLine(line);
  return report.violations.length === 0 ? 0 : 1;
}

function natsOf(text: string): number {
  if (text !== "1" && text !== "3") throw new Error(`--nats is 1 or 3, not "${text}"`);
  return Number(text);
}

function kindOf(name: string): FaultKind {
  const kind = FAULT_KINDS.find((one) => one === name);
  if (kind === undefined)
    throw new Error(`No fault "${name}"; there are ${FAULT_KINDS.join(", ")}`);
  return kind;
}

function seriesOf(text: string): SeriesOptions {
  const [given, times] = text.split("=");
  const name = SERIES_NAMES.find((one) => one === given);
  if (name === undefined || !(Number(times) >= 1)) {
    throw new Error(
      `No series "${text}"; there are ${SERIES_NAMES.join(", ")}, as in nats-restarts=200`,
    );
  }
  return { name, times: Number(times) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main();
