/** `verify` on the directory of a real node: it agrees while the node runs, after it stopped, and finds a wrong count. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { cli } from "../support/cli-run.ts";
import { snapshot } from "../support/directory-snapshot.ts";
import { answerJson, startStub } from "../support/stub-server.ts";

const ROOT = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const dir = mkdtempSync(path.join(tmpdir(), "catchall-verify-"));
let node: ChildProcess;
let url = "";

before(async () => {
  const argv = [
    "--import",
    "tsx",
    path.join(ROOT, "src/cli/main.ts"),
    "serve",
    "--port",
    "0",
    "--data-dir",
    dir,
  ];
  node = spawn(process.execPath, [...argv, "--log-level", "error"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [node.stdout, node.stderr])
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
  while (!/http:\/\/127\.0\.0\.1:\d+/.test(text)) {
    assert.equal(node.exitCode, null, text);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0] ?? "";
});
after(() => {
  node.kill("SIGKILL");
  rmSync(dir, { recursive: true });
});

describe("verify", () => {
  it("recounts what was sent and agrees with the running node", async () => {
    for (const argv of [
      ["a.com", "delivered", "--count", "1001"],
      ["b.com", "bounced"],
      ["b.com", "delivered"],
    ]) {
      assert.equal((await cli(["send", ...argv, "--url", url])).code, 0);
    }
    const earlier = snapshot(dir);
    const { code, stdout, stderr } = await cli(["verify", dir, "--url", url]);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^2 domains recounted, \d+ log entries replayed\nThe node answers the same for every domain\n$/,
    );
    assert.deepEqual(snapshot(dir), earlier);
  });

  it("ends with 1 and names every domain that a node answers otherwise", async () => {
    const lines = [
      { domain: "a.com", delivered: 1000, bounced: 0, status: "unknown", overridden: false },
      { domain: "c.com", delivered: 1, bounced: 0, status: "unknown", overridden: false },
    ];
    const stub = await startStub(({ path: at }, response) => {
      if (at === "/domains")
        response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      else answerJson(response, 404, {});
    });
    const { code, stdout, stderr } = await cli(["verify", dir, "--url", stub.url, "--json"]);
    await stub.close();
    assert.equal(code, 1, stderr);
    const { differences } = JSON.parse(stdout);
    assert.deepEqual(
      differences.map((difference: { domain: string }) => difference.domain),
      ["a.com", "c.com", "b.com"],
    );
    assert.deepEqual(differences[0].expected, { delivered: 1001, bounced: 0, status: "catch-all" });
  });

  it("recounts the same from the checkpoint of a node that stopped", async () => {
    node.kill("SIGTERM");
    const startMs = performance.now();
    const [exitCode] = await once(node, "exit");
    assert.ok(performance.now() - startMs < 10_000, "the node ended long before its time limit");
    assert.equal(exitCode, 0);
    const { code, stdout, stderr } = await cli(["verify", dir, "--json"]);
    assert.equal(code, 0, stderr);
    const { domains, compared } = JSON.parse(stdout);
    assert.deepEqual([domains, compared], [2, false]);
    assert.match((await cli(["inspect", "checkpoint", dir])).stdout, /^checkpoint of /);
  });

  it("fails on what is no data directory", async () => {
    const { code, stderr } = await cli(["verify", path.join(dir, "missing")]);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^error: /);
  });
});
