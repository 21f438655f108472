import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError, ERROR_CODES } from "../../src/model/errors.ts";

describe("ERROR_CODES", () => {
  it("says that the outcome is unknown with status 504 and no other, and of no read", () => {
    for (const [code, row] of Object.entries(ERROR_CODES)) {
      if (row.effect === "unknown") assert.equal(row.status, 504, code);
    }
    assert.equal(ERROR_CODES.outcome_unknown.effect, "unknown");
    const { status, effect, retryable } = ERROR_CODES.deadline_exceeded;
    assert.deepEqual([status, effect, retryable], [504, "none", true]);
  });

  it("calls every 503 retryable and no 400", () => {
    for (const [code, row] of Object.entries(ERROR_CODES)) {
      if (row.status === 503) assert.equal(row.retryable, true, code);
      if (row.status === 400) assert.equal(row.retryable, false, code);
    }
  });

  it("has codes in snake case and titles in sentence case without a full stop", () => {
    for (const [code, row] of Object.entries(ERROR_CODES)) {
      assert.match(code, /^[a-z]+(_[a-z0-9]+)*[0-9]*$/);
      assert.match(row.title, /^[A-Z].*[^.]$/);
      assert.ok(row.status >= 400 && row.status <= 599, code);
    }
  });
});

describe("CatchallError", () => {
  it("carries status, effect and retryability of its code", () => {
    const cause = new Error("disk");
    const error = new CatchallError("log_failed", 'Log "a" failed', { cause });
    assert.equal(error.name, "CatchallError");
    assert.equal(error.message, 'Log "a" failed');
    assert.deepEqual([error.status, error.effect, error.retryable], [503, "none", true]);
    assert.equal(error.cause, cause);
  });

  it("falls back on the title of its code", () => {
    assert.equal(new CatchallError("empty").message, "Domain is empty");
  });
});
