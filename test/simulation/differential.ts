/**
 * Differential tests: the same scripts against a simulated port and the real one, outcome by outcome. A script is its
 * seed and its length; its operations are drawn before it runs, and mean the same in both worlds ("append with what you
 * believe to be the last sequence, minus one"). What may differ (store ids, numbers of revisions, words) is left out of an
 * outcome by whoever writes it down; its kind and the code of an error never are.
 *
 * CATCHALL_DIFFERENTIAL_SCRIPTS sets the number of scripts a port, CATCHALL_DIFFERENTIAL_SEED the first seed.
 */
import assert from "node:assert/strict";
import { CatchallError } from "../../src/model/errors.ts";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { SimRandom } from "../../src/simulation/sim-random.ts";
import type { TestNatsServer } from "../support/nats-server.ts";

const SCRIPTS_DEFAULT = 25;
const SCRIPT_OPERATIONS = 30;
const OUTAGE_SHARE = 0.1;

/** One of the two worlds; `run` answers the outcome as a line. */
export interface ScriptWorld<Op> {
  run(operation: Op): Promise<string>;
  /** Ends the server and starts it again; resolves when its clients have noticed. */
  setAway?(isAway: boolean): Promise<void>;
  dispose(): Promise<void>;
}

export interface Comparison<Op> {
  readonly port: string;
  readonly draw: (random: SimRandom) => Op;
  readonly simulated: () => Promise<ScriptWorld<Op>>;
  readonly real: () => Promise<ScriptWorld<Op>>;
  /** Each script has one outage of the server. */
  readonly hasOutage?: boolean;
  /** Of the number of scripts; 1 by default, OUTAGE_SHARE with an outage. */
  readonly share?: number;
}

interface Outage {
  readonly kind: "away" | "back";
}

function scriptSeeds<Op>({ hasOutage, share }: Comparison<Op>): readonly number[] {
  const wanted = process.env["CATCHALL_DIFFERENTIAL_SCRIPTS"];
  const all = wanted === undefined ? SCRIPTS_DEFAULT : Number(wanted);
  const count = Math.ceil(all * (share ?? (hasOutage === true ? OUTAGE_SHARE : 1)));
  const first = Number(process.env["CATCHALL_DIFFERENTIAL_SEED"] ?? 1);
  return Array.from({ length: count }, (_, i) => first + i);
}

/** Runs the script of one seed in both worlds; returns how often each kind of outcome was seen. */
async function compareScript<Op>(
  comparison: Comparison<Op>,
  seed: number,
  seen: Map<string, number>,
): Promise<void> {
  const operations = drawScript(comparison, seed);
  const expected = await outcomesOf(await comparison.real(), operations);
  const actual = await outcomesOf(await comparison.simulated(), operations);
  for (const [i, operation] of operations.entries()) {
    const line = expected[i] ?? "";
    const kind = `${(operation as { kind: string }).kind}: ${line.split(" ")[0]}`;
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
    if (line === actual[i]) continue;
    const before = operations
      .slice(0, i)
      .map((op, at) => `${JSON.stringify(op)} → ${expected[at]}`);
    assert.fail(
      `${comparison.port}, seed ${seed}, operation ${i} ${JSON.stringify(operation)}: ` +
        `real "${line}", simulated "${actual[i]}"; before it:\n${before.join("\n")}`,
    );
  }
}

/** All scripts of this run. Every kind of operation in `kinds` must have been seen. */
export async function compareScripts<Op>(
  comparison: Comparison<Op>,
  kinds: readonly string[],
): Promise<void> {
  const seen = new Map<string, number>();
  const failures: unknown[] = [];
  for (const seed of scriptSeeds(comparison)) {
    await compareScript(comparison, seed, seen).catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) {
    const all = failures.map((failure) => String(failure).split("; before it")[0]);
    assert.fail(`${all.join("\n")}\nThe first of these:\n${String(failures[0])}`);
  }
  // A run of one's own choice may be too short to show everything; it says what it showed.
  if (process.env["CATCHALL_DIFFERENTIAL_SCRIPTS"] !== undefined) {
    console.log(comparison.port, seen);
    return;
  }
  for (const kind of kinds) assert.ok(seen.has(kind), `no script has shown "${kind}"`);
}

function drawScript<Op>(
  { port, draw, hasOutage }: Comparison<Op>,
  seed: number,
): readonly (Op | Outage)[] {
  const random = new SimRandom(seed, `differential ${port}`);
  const script: (Op | Outage)[] = Array.from({ length: SCRIPT_OPERATIONS }, () => draw(random));
  if (hasOutage !== true) return script;
  const start = 8 + random.below(8);
  script.splice(start + 3 + random.below(6), 0, { kind: "back" });
  script.splice(start, 0, { kind: "away" });
  return script;
}

async function outcomesOf<Op>(
  world: ScriptWorld<Op>,
  operations: readonly (Op | Outage)[],
): Promise<readonly string[]> {
  const outcomes: string[] = [];
  try {
    for (const operation of operations) {
      const { kind } = operation as Outage;
      if (kind === "away" || kind === "back") await world.setAway?.(kind === "away");
      outcomes.push(kind === "away" || kind === "back" ? kind : await world.run(operation as Op));
    }
  } finally {
    await world.dispose();
  }
  return outcomes;
}

/** The code of an error, or the name of what is not the product's own. */
export async function outcomeOf(work: () => Promise<string>): Promise<string> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CatchallError) return `!${error.code}`;
    return `!${error instanceof Error ? error.name : String(error)}`;
  }
}

/** kill -9 and a start on the same data; resolves when every connection knows. */
export async function setNatsAway(
  server: TestNatsServer,
  connections: readonly NatsRequests[],
  isAway: boolean,
): Promise<void> {
  if (isAway) await server.kill();
  else await server.restart();
  await until(() => connections.every(({ isConnected }) => isConnected !== isAway));
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, "the wait took too long");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
