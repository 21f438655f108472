import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import { codeOf } from "../../src/runtime/error-code.ts";

describe("codeOf", () => {
  it("is the code of an error, whatever was thrown", () => {
    assert.equal(codeOf(new CatchallError("conflict", "no")), "conflict");
    assert.equal(codeOf({ code: 11_000 }), "11000");
    for (const thrown of [new Error("no"), null, undefined, "TIMEOUT", {}]) {
      assert.equal(codeOf(thrown), "");
    }
  });
});
