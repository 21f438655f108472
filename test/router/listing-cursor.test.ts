import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { CatchallError } from "../../src/model/errors.ts";
import { PAGES } from "../../src/model/partition-id.ts";
import { decodeCursor, encodeCursor } from "../../src/router/listing-cursor.ts";

const NAME = fc.stringMatching(/^[a-z0-9_-]{1,63}(\.[a-z0-9-]{2,60}){1,3}$/);

describe("listing cursor", () => {
  it("comes back as the place it was made of, and is safe in a URL", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: PAGES - 1 }), NAME, (page, name) => {
        const text = encodeCursor({ page, name });
        assert.match(text, /^[A-Za-z0-9_-]{1,512}$/);
        assert.deepEqual(decodeCursor(text), { page, name });
      }),
    );
  });

  it("is refused with invalid_parameter when it is anything else, in whatever spelling", () => {
    const base64 = (text: string): string => Buffer.from(text, "latin1").toString("base64url");
    const good = encodeCursor({ page: 7, name: "a.example" });
    for (const text of [
      "",
      "x",
      `${good}=`,
      `${good.slice(0, 4)} ${good.slice(4)}`,
      `${good}!`,
      base64(`${PAGES}:a.example`),
      base64("99999:a.example"),
      base64("-1:a.example"),
      base64("007:a.example"),
      base64("7:"),
      base64("7:A.EXAMPLE"),
      base64(`7:${"a".repeat(254)}`),
      base64("7:a.example\n"),
      base64("1e3:a.example"),
    ]) {
      assert.throws(() => decodeCursor(text), { code: "invalid_parameter" }, text);
    }
    assert.throws(
      () => decodeCursor("y".repeat(100_000)),
      (error) => {
        return error instanceof CatchallError && error.message.length < 200;
      },
    );
  });

  it("throws nothing but CatchallError on any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        try {
          assert.equal(encodeCursor(decodeCursor(text)), text);
        } catch (error) {
          assert.ok(error instanceof CatchallError);
        }
      }),
    );
  });
});
