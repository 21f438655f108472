/** What of an Accept header makes an answer other than JSON. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { prefers } from "../../src/http/accept-header.ts";

const TEXT = "text/plain";

describe("prefers", () => {
  for (const accept of [
    "text/plain",
    "Text/Plain",
    "text/*",
    "text/plain; charset=utf-8",
    "text/plain, application/json",
    "text/plain;q=0.9, application/json;q=0.5",
    "application/json;q=0.5, text/plain;q=0.9",
    "application/json;q=0, text/plain;q=0.1",
    "text/plain, */*;q=0.8",
    "*/*;q=0.8, text/plain",
    "text/html, text/plain;q=0.9, */*;q=0.8",
    "*/*, application/json;q=0.1",
    "text/plain;Q=1.000,application/json;q=0.999",
    "text/plain;q=bad",
  ]) {
    it(`asks for plain text: ${accept}`, () => assert.equal(prefers(accept, TEXT), true));
  }
  for (const accept of [
    "",
    "*/*",
    "text/html",
    "application/json",
    "application/json, text/plain, */*",
    "text/plain;q=0",
    "text/plain;q=0.000, */*",
    "text/*, text/plain;q=0",
    "text/plain;q=0.5, application/json",
    "text/plain; q=0.5, application/*",
    "text/plain;q=0.5, */*",
    "text/plainly",
    "x-text/plain",
    "application/json;q=0, text/plain;q=0",
    ",;,q=1",
  ]) {
    it(`is answered with JSON: ${accept}`, () => assert.equal(prefers(accept, TEXT), false));
  }
  it("does the same for an export", () => {
    assert.equal(prefers("application/x-ndjson", "application/x-ndjson"), true);
    assert.equal(prefers("application/x-ndjson;q=0, */*", "application/x-ndjson"), false);
    assert.equal(prefers("application/*", "application/x-ndjson"), false);
  });
  it("reads a header of 16 KiB", () => {
    assert.equal(prefers(`${"a/b;q=0.1,".repeat(1_600)}text/plain`, TEXT), true);
  });
});
