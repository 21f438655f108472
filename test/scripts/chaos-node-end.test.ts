/** Goal: a node that crashes is never taken for one that gave up, and one that gave up is told with its reason. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { NodeChild } from "../../scripts/chaos/node-child.ts";
import {
  hasCrashed,
  lastLinesOf,
  type NodeEnd,
  reasonOfGivingUp,
} from "../../scripts/chaos/node-end.ts";
import { catchallArguments } from "../support/node-process.ts";

const AWAY = { code: "control_unavailable", message: "Can't connect" };

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "catchall-node-end-"));
});
after(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Runs it with one log file for all, as the nodes of a run have. */
function run(args: readonly string[]): Promise<NodeEnd> {
  return new Promise((resolve) => {
    new NodeChild({
      ...{ args, cwd: folder, logFile: join(folder, "log") },
      onExit: (child, how) => resolve({ how, output: child.output }),
    });
  });
}

function toy(script: string): Promise<NodeEnd> {
  return run(["--eval", script]);
}

function saying(level: string, err: object, then: string): Promise<NodeEnd> {
  const line = JSON.stringify({ level, err, msg: "Start failed" });
  return toy(`console.log(${JSON.stringify(line)}); ${then}`);
}

describe("reasonOfGivingUp", () => {
  it("accepts the end of a node that says why its start failed", async () => {
    const end = await saying("debug", AWAY, "console.error('Can not'); process.exit(1)");
    assert.equal(reasonOfGivingUp(end), "control_unavailable: Can't connect");
    assert.equal(hasCrashed(end.output), false);
  });

  it("reads what the product says", async () => {
    const file = join(folder, "file");
    await writeFile(file, "");
    const flags = ["--data-dir", join(file, "below"), "--log-level", "debug"];
    const { how, output } = await run([...catchallArguments(), ...flags]);
    assert.equal(how, "code 78");
    assert.match(reasonOfGivingUp({ how: "code 1", output }) ?? output, /^conflict: --data-dir/);
  });

  it("takes an exception that nobody caught for a crash, whatever was said before it", async () => {
    const mistake = "setTimeout(() => null.events, 1)";
    for (const end of [await toy(mistake), await saying("debug", AWAY, mistake)]) {
      assert.equal(end.how, "code 1");
      assert.equal(reasonOfGivingUp(end), null);
      assert.equal(hasCrashed(end.output), true);
      assert.match(lastLinesOf(end.output).join("\n"), /TypeError: .*null.*Node\.js v/s);
    }
  });

  it("takes what was not foreseen, and what is damaged, for no reason", async () => {
    const end = "process.exit(1)";
    const unforeseen = await saying("error", { message: "x is not a function" }, end);
    assert.deepEqual([reasonOfGivingUp(unforeseen), hasCrashed(unforeseen.output)], [null, true]);
    const damaged = { code: "log_damaged", message: "An entry is torn" };
    assert.equal(reasonOfGivingUp(await saying("debug", damaged, end)), null);
  });

  it("accepts no silent end, no other code and no word of a process before", async () => {
    await saying("debug", AWAY, "process.exit(1)");
    assert.equal(reasonOfGivingUp(await toy("process.exit(1)")), null);
    assert.equal(reasonOfGivingUp(await saying("debug", AWAY, "process.exit(0)")), null);
    assert.equal(
      reasonOfGivingUp(
        await saying("debug", AWAY, "process.kill(process.pid, 9); setTimeout(() => 0, 1000)"),
      ),
      null,
    );
  });
});
