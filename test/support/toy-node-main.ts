/** The toy node as a process with the flags of `catchall serve`, for tests of the kill harness. */
import { mkdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { type ToyDefect, ToyNode } from "./toy-node.ts";

const { values } = parseArgs({
  options: { port: { type: "string" }, "data-dir": { type: "string" }, defect: { type: "string" } },
});
const directory = values["data-dir"] ?? ".";
mkdirSync(directory, { recursive: true });
const { defect } = values;
await ToyNode.start({
  port: Number(values.port),
  file: `${directory}/events.log`,
  ...(defect === undefined ? {} : { defect: defect as ToyDefect }),
});
