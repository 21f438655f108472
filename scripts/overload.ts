/**
 * `npm run overload`: what a node does at 5 and 10 times its peak: goodput, latency of what it accepts, probes, memory,
 * recovery, and the law that it counts what it acknowledged. Usage: `overload.ts [--seconds S] [--step-seconds S]
 * [--factors 5,10] [--connections N] [--single-connections N] [--json]`. Runs the built product.
 * Ends with 1 when an event is lost or counted twice, a health probe fails, or a refusal has no Retry-After.
 */
import { parseArgs } from "node:util";
import { openClientProcess } from "./overload/client-process.ts";
import { runOverload } from "./overload/overload-run.ts";
import { faultsOf, lineOfPhase, linesOfRun } from "./overload/report.ts";

/** An orchestrator's probe has 1 s where nobody says otherwise. */
const PROBE_LIMIT_MS = 1000;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "15" },
    "step-seconds": { type: "string", default: "4" },
    factors: { type: "string", default: "5,10" },
    connections: { type: "string", default: "512" },
    /** 0: no single events. */
    "single-connections": { type: "string", default: "2048" },
    json: { type: "boolean", default: false },
  },
});

const report = await runOverload({
  stepMs: Number(values["step-seconds"]) * 1000,
  phaseMs: Number(values.seconds) * 1000,
  factors: values.factors.split(",").map(Number),
  connections: Number(values.connections),
  singleConnections: Number(values["single-connections"]),
  requests: 64,
  probeLimitMs: PROBE_LIMIT_MS,
  openSource: openClientProcess,
  onPhase: (phase) => {
    if (!values.json) console.log(lineOfPhase(phase));
  },
});
if (values.json) console.log(JSON.stringify(report, null, 2));
else for (const line of linesOfRun(report)) console.log(line);
for (const fault of faultsOf(report)) {
  console.error(`FAULT ${fault}`);
  process.exitCode = 1;
}
