/** Failed authentications by address: burst, refill, bounded memory, networks. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FailureLimiter, networkOf } from "../../src/http/failure-limiter.ts";
import { ManualTime, openFixture, roleTokens } from "../support/http-fixture.ts";

const LIMITS = { burst: 3, refillMs: 1_000, addressesMax: 5 };

describe("FailureLimiter", () => {
  it("lets a burst pass, then one failure each time the bucket has refilled", () => {
    const time = new ManualTime();
    const limiter = new FailureLimiter(time, LIMITS);
    assert.deepEqual(
      [1, 2, 3, 4, 5].map(() => limiter.fail("a")),
      [0, 0, 0, 1, 1],
    );
    time.advance(999);
    assert.equal(limiter.fail("a"), 1);
    time.advance(1);
    assert.deepEqual(
      [1, 2].map(() => limiter.fail("a")),
      [0, 1],
    );
    time.advance(60_000);
    assert.deepEqual(
      [1, 2, 3, 4].map(() => limiter.fail("a")),
      [0, 0, 0, 1],
      "never over the burst",
    );
  });

  it("says how long to wait when a refill takes longer than a second", () => {
    const limiter = new FailureLimiter(new ManualTime(), { ...LIMITS, burst: 1, refillMs: 30_000 });
    assert.deepEqual([limiter.fail("a"), limiter.fail("a")], [0, 30]);
  });

  it("holds each address on its own and remembers no more than its limit of them", () => {
    const limiter = new FailureLimiter(new ManualTime(), LIMITS);
    for (let i = 0; i < 4; i++) limiter.fail("a");
    assert.equal(limiter.fail("b"), 0);
    assert.equal(limiter.fail("a"), 1);
    for (let i = 0; i < 10_000; i++) limiter.fail(`c${i}`);
    assert.equal(limiter.addresses, LIMITS.addressesMax);
    for (let i = 0; i < 20; i++) {
      limiter.fail(`d${i}`);
      limiter.fail("x");
    }
    assert.equal(limiter.fail("x"), 1, "who goes on failing is not forgotten");
  });
});

describe("networkOf", () => {
  it("takes an IPv4 address as it is, and the /64 of an IPv6 address however it is written", () => {
    const cases = [
      ["192.0.2.1", "192.0.2.1"],
      ["::ffff:192.0.2.1", "192.0.2.1"],
      ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
      ["2001:0DB8:0001:0002:0000:0000:0000:0009", "2001:db8:1:2::/64"],
      ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
      ["2001:db8::9", "2001:db8:0:0::/64"],
      ["::1", "0:0:0:0::/64"],
      ["0000:0000:0000:0000:0000:0000:0000:0001", "0:0:0:0::/64"],
      ["", ""],
    ] as const;
    for (const [address, network] of cases) assert.equal(networkOf(address), network, address);
  });
});

describe("Failed authentications", () => {
  const wrong = { authorization: "Bearer wrong-token-of-mine" };
  const right = { authorization: "Bearer secret-read" };

  it("are answered 429 with Retry-After over the limit, for that address only", async () => {
    const { http, time, logged } = openFixture({
      tokens: roleTokens(),
      limits: { authFailuresBurst: 5 },
    });
    const ask = (headers: Record<string, string>, remoteAddress = "192.0.2.1") =>
      http.send("GET", "/domains/a.example", { headers, remoteAddress });
    for (let i = 0; i < 5; i++) assert.equal((await ask(i % 2 === 0 ? wrong : {})).status, 401);
    for (let i = 0; i < 100; i++) {
      const reply = await ask(wrong);
      assert.equal(reply.status, 429);
      assert.deepEqual([reply.json()["code"], reply.json()["effect"]], ["rate_limited", "none"]);
      assert.equal(reply.headers.get("retry-after"), "1");
    }
    assert.equal((await ask(wrong, "192.0.2.2")).status, 401);
    assert.equal((await ask(right)).status, 200, "a neighbour with a token is not locked out");
    time.advance(1_000);
    assert.deepEqual([(await ask(wrong)).status, (await ask(wrong)).status], [401, 429]);
    const failures = logged.filter(({ message }) => message === "authentication failed");
    assert.equal(failures.length, 7, "a flood does not flood the log");
    assert.equal(failures[0]?.fields["address"], "192.0.2.1");
    assert.doesNotMatch(JSON.stringify(logged), /wrong-token-of-mine/);
  });

  it("never limit the open routes, nor a token that may not do that", async () => {
    const { http } = openFixture({ tokens: roleTokens(), limits: { authFailuresBurst: 1 } });
    for (let i = 0; i < 5; i++) {
      await http.send("GET", "/domains/a.example", { headers: wrong });
      assert.equal((await http.send("GET", "/healthz", { headers: wrong })).status, 200);
      const reply = await http.send("PUT", "/events/a.example/bounced", { headers: right });
      assert.equal(reply.status, 403);
    }
  });
});
