import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DomainName } from "../../src/model/domain-name.ts";
import { TestWorld } from "../support/test-node.ts";

describe("Router", () => {
  it("says that an override may be set when it is durable and its domain can't be read any more", async () => {
    const world = new TestWorld();
    const node = await world.start();
    const { router } = node.assembled;
    router.onStatusChange(() => queueMicrotask(() => node.gate.moveTo("failed", "disk")));
    const override = { status: "catch-all", reason: "known" } as const;
    await assert.rejects(router.setOverride("a.example" as DomainName, override, "ops"), {
      code: "outcome_unknown",
      effect: "unknown",
    });
  });
});
