/** Goal: a chosen port stays free until it is used. Method: many choices, held against the kernel's own range. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { describe, it } from "node:test";
import { bindOnce, freePort } from "../../scripts/free-port.ts";

const RANGE_FILE = "/proc/sys/net/ipv4/ip_local_port_range";

describe("freePort", () => {
  it("is not one that the kernel gives to outgoing connections", async (test) => {
    let own: number;
    try {
      own = Number.parseInt(readFileSync(RANGE_FILE, "utf8"), 10);
    } catch {
      test.skip("this system does not say which ports are its own");
      return;
    }
    if (own < 12_000) {
      test.skip(`the kernel's own ports begin at ${own}`);
      return;
    }
    for (let i = 0; i < 50; i++) {
      const port = await freePort();
      assert.equal(port >= 10_240 && port < own, true, `${port} of ${own}`);
    }
  });

  it("is free", async () => {
    const port = await freePort();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    assert.equal(await bindOnce("127.0.0.1", port), null);
    const client = connect({ port, host: "127.0.0.1" });
    await new Promise((resolve) => client.once("connect", resolve));
    client.destroy();
    await new Promise((resolve) => server.close(resolve));
    assert.equal(await bindOnce("127.0.0.1", port), port);
  });
});
