/** Goal: a stop tells a crash from an end in order, whatever the code. Method: a cluster by hand. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ChaosCluster } from "../../scripts/chaos/chaos-cluster.ts";
import { AckLosses, FaultDriver } from "../../scripts/chaos/fault-driver.ts";

const CRASH = "TypeError: x is not a function\n    at f (a.js:1:2)\n\nNode.js v20.20.2\n";

/** What is wrong with the stop of a node that ends like this. */
async function stop(how: string, output: string): Promise<readonly string[]> {
  const node = { id: "n1", child: { how, output } };
  const cluster = {
    node: () => node,
    stopNode: async () => how === "code 0",
    startNode: () => undefined,
  } as unknown as ChaosCluster;
  const wrong: string[] = [];
  const onWrong = (text: string): void => void wrong.push(text);
  const options = { cluster, losses: new AckLosses(), onEvent: () => undefined, onWrong };
  const driver = new FaultDriver(options, 2000);
  const around = { link: "nats", direction: "up", times: 1, variant: 0 } as const;
  const fault = { atMs: 0, kind: "stop", node: "n1", durationMs: 0, ...around } as const;
  await driver.run([fault], () => false);
  await driver.finish();
  return wrong;
}

describe("FaultDriver", () => {
  it("finds a node that crashes while it stops", async () => {
    const [text, ...others] = await stop("code 1", `{"msg":"Stopping"}\n${CRASH}`);
    assert.match(text ?? "", /^n1 crashed after SIGTERM: .*TypeError: x is not a function/s);
    assert.deepEqual(others, []);
  });

  it("finds a node that does not stop", async () => {
    assert.deepEqual(await stop("SIGKILL", ""), ["n1 did not end within its time after SIGTERM"]);
  });

  it("lets a node end late, at once, or in order", async () => {
    for (const how of ["code 1", "SIGTERM", "code 0"]) {
      assert.deepEqual(await stop(how, '{"msg":"Stopping"}\n'), [], how);
    }
  });
});
