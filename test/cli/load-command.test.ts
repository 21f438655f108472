/** The command: exit codes 0, 1 and 2, JSON, and repeated runs with the same seed. */
import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { afterEach, describe, it } from "node:test";
import { Command, CommanderError } from "commander";
import { registerLoad } from "../../src/cli/commands/load.ts";
import { ToyNode, type ToyNodeOptions } from "../support/toy-node.ts";

let node: ToyNode | null = null;

afterEach(async () => {
  await node?.close();
  node = null;
});

async function startToy(options: ToyNodeOptions = {}): Promise<ToyNode> {
  node = await ToyNode.start(options);
  return node;
}

async function run(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  let stdout = "";
  let stderr = "";
  let code = -1;
  const sink = new Writable({
    write(chunk, _encoding, done) {
      stderr += String(chunk);
      done();
    },
  });
  const program = new Command("catchall").exitOverride().configureOutput({
    writeErr: (text) => {
      stderr += text;
    },
  });
  registerLoad(program, {
    stdout: { write: (text) => (stdout += text) },
    stderr: sink,
    setExitCode: (value) => {
      code = value;
    },
  });
  try {
    await program.parseAsync(["load", ...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    code = error.exitCode === 0 ? 0 : 2;
  }
  return { code, stdout, stderr };
}

describe("catchall load", () => {
  it("ends with 0 and shows rate, percentiles and the verification", async () => {
    const toy = await startToy();
    const result = await run("--url", toy.url, "--events", "2000", "--verify");
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /events\/s/);
    assert.match(result.stdout, /P50 .* P99\.9/);
    assert.match(result.stdout, /0 wrong, lost 0, doubled 0/);
    assert.match(result.stderr, /^seed \d+\n/);
    assert.match(result.stderr, /^recounting every domain$/m);
  });

  it("ends with 1 and names the domains when counts or statuses are wrong", async () => {
    for (const defect of ["lose", "double", "wrong-status"] as const) {
      const toy = await startToy({ defect });
      const flags = ["--url", toy.url, "--events", "3000", "--seed", "5", "--verify"];
      const result = await run(...flags);
      assert.equal(result.code, 1, defect);
      assert.match(result.stdout, /WRONG [a-z]{14}\./);
      await toy.close();
      node = null;
    }
  });

  it("recounts a sample when it is told to", async () => {
    const flags = ["--mix", "uniform", "--domains", "500", "--events", "2000", "--seed", "5"];
    const verify = ["--verify", "--verify-sample", "100", "--json"];
    for (const [defect, code] of [
      [null, 0],
      ["lose", 1],
    ] as const) {
      const toy = await startToy(defect === null ? {} : { defect });
      const result = await run("--url", toy.url, ...flags, ...verify);
      const json = JSON.parse(result.stdout) as { verification: { domains: number } };
      assert.deepEqual([result.code, json.verification.domains], [code, 100]);
      await toy.close();
      node = null;
    }
  });

  it("stays exact when the same seed runs again on the same data", async () => {
    const toy = await startToy();
    for (const mix of ["challenge", "duplicates", "boundary"]) {
      const flags = ["--url", toy.url, "--mix", mix, "--events", "1500", "--seed", "5", "--verify"];
      for (let i = 0; i < 2; i++) assert.equal((await run(...flags)).code, 0, mix);
    }
  });

  it("prints one JSON object without the token", async () => {
    const toy = await startToy();
    const flags = ["--url", toy.url, "--events", "500", "--bulk", "50", "--token", "s3cret"];
    const result = await run(...flags, "--json", "--verify");
    const json = JSON.parse(result.stdout) as Record<string, Record<string, unknown>>;
    assert.equal(json["isSuccess"], true);
    assert.equal(json["outcome"]?.["acked"], 500);
    assert.equal(json["verification"]?.["lost"], 0);
    assert.ok(!result.stdout.includes("s3cret"));
  });

  it("runs for a duration", async () => {
    const toy = await startToy();
    const flags = ["--url", toy.url, "--duration", "300ms", "--rate", "500", "--verify", "--json"];
    const result = await run(...flags);
    const json = JSON.parse(result.stdout) as { outcome: { acked: number } };
    assert.equal(result.code, 0);
    assert.ok(json.outcome.acked > 80 && json.outcome.acked < 300, `${json.outcome.acked}`);
  });

  it("ends with 2 on wrong usage", async () => {
    for (const argv of [
      ["--mix", "nonsense"],
      ["--events", "0"],
      ["--events", "many"],
      ["--reads", "1.1"],
      ["--reads", "0.5", "--bulk", "10"],
      ["--duration", "5"],
      ["--url", "ftp://example.com"],
      ["--unknown"],
    ]) {
      assert.equal((await run(...argv)).code, 2, argv.join(" "));
    }
  });

  it("ends with 1 and says what to do when nothing answers", async () => {
    const toy = await startToy();
    const { url } = toy;
    await toy.close();
    node = null;
    const result = await run("--url", url, "--events", "10");
    assert.equal(result.code, 1);
    assert.match(result.stderr, /Nothing answers at/);
  });
});
