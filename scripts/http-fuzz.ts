/**
 * Mutated requests against a whole node behind both HTTP servers: counted = acknowledged, every answer declared, never
 * a crash, never a hang. Usage: `http-fuzz.ts [--requests N] [--seed S] [--http uws|node]`; N is for both together.
 * Ends with 1 when a law is broken, and says which bytes did it.
 */
import { parseArgs } from "node:util";
import { type FuzzReport, runHttpFuzz } from "../test/support/http-fuzz-run.ts";

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "50000" },
    seed: { type: "string", default: "1" },
    http: { type: "string" },
  },
});
const kinds = (["uws", "node"] as const).filter((kind) => (values.http ?? kind) === kind);
const requests = Number(values.requests);
const seed = Number(values.seed);
if (kinds.length === 0 || !(requests >= 1) || !Number.isInteger(seed)) {
  throw new Error("Usage: http-fuzz.ts [--requests N] [--seed S] [--http uws|node]");
}

const PROGRESS_EVERY_MS = 10_000;
let saidMs = performance.now();
const sums = {
  ...{ sent: 0, acknowledged: 0, counted: 0, unseenRequests: 0, unseenMax: 0, unseenCounted: 0 },
  ...{ honest: 0, faultCount: 0, cpuSeconds: 0 },
};
for (const kind of kinds) {
  let shown = 0;
  const onProgress = (report: FuzzReport): void => {
    for (; shown < report.faults.length; shown++) console.error(`${kind}: ${report.faults[shown]}`);
    if (performance.now() - saidMs < PROGRESS_EVERY_MS) return;
    saidMs = performance.now();
    console.error(`${kind}: ${report.sent} sent, ${report.faultCount} faults`);
  };
  const share = Math.ceil(requests / kinds.length);
  const report = await runHttpFuzz({ kind, requests: share, seed, onProgress });
  console.log(JSON.stringify(report, null, 2));
  for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += report[name];
  if (report.faultCount > 0) process.exitCode = 1;
}
console.log(
  `${sums.sent} mutated requests: ${sums.counted} events counted = ${sums.acknowledged} acknowledged + ` +
    `${sums.unseenCounted} of the ${sums.unseenMax} in ${sums.unseenRequests} requests whose answer was not seen; ` +
    `${sums.faultCount} faults; ${sums.honest} honest requests beside them; ` +
    `${sums.cpuSeconds.toFixed(0)} s of processor time`,
);
