import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import { redactFields, redactText } from "../../src/runtime/redact.ts";

describe("redactText", () => {
  it("takes the user-info out of every URI and leaves the rest", () => {
    const vectors: readonly (readonly [string, string])[] = [
      ["mongodb://u:p@h:1/db", "mongodb://[redacted]@h:1/db"],
      ["mongodb+srv://u:p@h/db", "mongodb+srv://[redacted]@h/db"],
      ["mongodb://u:p@ss/w,o@h", "mongodb://[redacted]@h"],
      ["nats://t@h1,nats://u:p@h2", "nats://[redacted]@h1,nats://[redacted]@h2"],
      ["http://127.0.0.1:8080/", "http://127.0.0.1:8080/"],
      ["user@example.com", "user@example.com"],
    ];
    for (const [text, expected] of vectors) assert.equal(redactText(text), expected);
  });

  it("takes out what follows Bearer, key seeds and JSON Web Tokens", () => {
    assert.equal(redactText("bearer abc.def, x"), "bearer [redacted], x");
    assert.equal(redactText(`key SU${"A2".repeat(28)}.`), "key [redacted].");
    assert.equal(redactText("jwt eyJhbGciOiJI.eyJzdWIi.c2ln end"), "jwt [redacted] end");
  });

  it("cuts long texts, after redaction", () => {
    const text = `${"x".repeat(8180)} http://user:secret${"y".repeat(9000)}@h`;
    const safe = redactText(text);
    assert.equal(safe.length, 8193);
    assert.equal(safe.includes("secret"), false);
  });

  it("takes time linear in the text", () => {
    const startMs = performance.now();
    for (const piece of ["a://", "a.", "a-", "://", "@", "Bearer ", "eyJ", "http://a@"]) {
      redactText(piece.repeat(100_000 / piece.length));
    }
    assert.ok(performance.now() - startMs < 2000);
  });
});

describe("redactFields", () => {
  it("hides values of secret keys in any spelling, and no others", () => {
    const fields = {
      authorization: "x",
      "Proxy-Authorization": "x",
      "set-cookie": ["x"],
      nats_password: "x",
      apiKey: "x",
      accessToken: 5,
      seed: 42,
      tokensFile: "tokens.jsonl",
      hasToken: true,
      token: null,
    };
    assert.deepEqual(redactFields(fields), {
      authorization: "[redacted]",
      "Proxy-Authorization": "[redacted]",
      "set-cookie": "[redacted]",
      nats_password: "[redacted]",
      apiKey: "[redacted]",
      accessToken: "[redacted]",
      seed: 42,
      tokensFile: "tokens.jsonl",
      hasToken: true,
      token: null,
    });
  });

  it("keeps the message, type, code and cause of an error", () => {
    const cause = Object.assign(new Error("disk"), { code: "EIO" });
    const { err } = redactFields({ err: new TypeError("log", { cause }) }) as {
      err: { type: string; message: string; cause: { code: string; message: string } };
    };
    assert.deepEqual([err.type, err.message], ["TypeError", "log"]);
    assert.deepEqual([err.cause.code, err.cause.message], ["EIO", "disk"]);
  });

  it("says where a mistake of ours was made, and not where the world refused", () => {
    const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    const away = new CatchallError("checkpoint_unavailable", "MongoDB is away", { cause: refused });
    const { err: world } = redactFields({ err: away }) as {
      err: { message: string; code: string; stack?: string; cause: object };
    };
    const { message, code, stack, cause } = world;
    assert.deepEqual(
      [message, code, stack],
      ["MongoDB is away", "checkpoint_unavailable", undefined],
    );
    assert.deepEqual(cause, { type: "Error", message: refused.message, code: "ECONNREFUSED" });
    const wrong = new CatchallError("log_failed", "not applied", { cause: new TypeError("x") });
    const { err } = redactFields({ err: wrong }) as {
      err: { stack?: string; cause: { stack: string } };
    };
    assert.equal(err.stack, undefined);
    assert.match(err.cause.stack, /redact\.test/);
    const { err: plain } = redactFields({ err: new Error("x") }) as { err: { stack: string } };
    assert.match(plain.stack, /redact\.test/);
  });

  it("writes dates and URLs as text", () => {
    const fields = { at: new Date(0), bad: new Date(Number.NaN), url: new URL("http://u:p@h/") };
    assert.deepEqual(redactFields(fields), {
      at: "1970-01-01T00:00:00.000Z",
      bad: null,
      url: "http://[redacted]@h/",
    });
  });

  it("does not let a key set a prototype", () => {
    const safe = redactFields(JSON.parse('{"__proto__":{"polluted":1}}'));
    assert.equal(Object.getPrototypeOf(safe), Object.prototype);
    assert.equal("polluted" in safe, false);
  });
});
