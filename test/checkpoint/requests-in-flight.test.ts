import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { RequestsInFlight } from "../../src/checkpoint/requests-in-flight.ts";

/** A request that ends when the test says so. */
function heldRequest(): {
  readonly request: Promise<void>;
  readonly end: () => void;
  readonly fail: (error: unknown) => void;
} {
  let end = (): void => undefined;
  let fail = (_error: unknown): void => undefined;
  const request = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  return { request, end, fail };
}

/** Whether it has ended once everything that can go on has gone on. */
async function isOver(work: Promise<unknown>): Promise<boolean> {
  let isDone = false;
  void work.finally(() => (isDone = true)).catch(() => undefined);
  await new Promise((resolve) => setImmediate(resolve));
  return isDone;
}

describe("RequestsInFlight", () => {
  it("has room for one less than its limit, and again when any of them has ended", async () => {
    const requests = new RequestsInFlight(3);
    const held = [heldRequest(), heldRequest(), heldRequest()] as const;
    await requests.add(held[0].request);
    await requests.add(held[1].request);
    const third = requests.add(held[2].request);
    assert.equal(await isOver(third), false);
    held[1].end();
    assert.equal(await isOver(third), true);
    const settled = requests.settle();
    held[0].end();
    assert.equal(await isOver(settled), false);
    held[2].end();
    await settled;
  });

  it("keeps the first failure for every later call", async () => {
    const requests = new RequestsInFlight(4);
    const [first, second] = [heldRequest(), heldRequest()];
    await requests.add(first.request);
    await requests.add(second.request);
    second.fail(new Error("the first one"));
    assert.equal(await isOver(second.request.catch(() => undefined)), true);
    assert.throws(() => requests.throwFailure(), /the first one/);
    first.fail(new Error("a later one"));
    await assert.rejects(requests.settle(), /the first one/);
    await assert.rejects(requests.add(Promise.resolve()), /the first one/);
  });

  it("settles at once when nothing is under way", async () => {
    const requests = new RequestsInFlight(1);
    await requests.settle();
    requests.throwFailure();
    await requests.add(Promise.resolve());
    assert.equal(await isOver(requests.settle()), true);
  });
});
