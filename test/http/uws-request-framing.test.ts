import type { HttpRequest as UwsRequest } from "uWebSockets.js";
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  FRAMING_AMBIGUOUS,
  FRAMING_BAD_KEY,
  FRAMING_NO_BODY,
  headerBit,
  readFraming,
  seenHeaderBits,
} from "../../src/http/uws-request-framing.ts";

type Header = readonly [name: string, value: string];

function requestOf(...headers: readonly Header[]): UwsRequest {
  const visit = (visitor: (name: string, value: string) => void): void => {
    for (const [name, value] of headers) visitor(name, value);
  };
  return { forEach: visit } as unknown as UwsRequest;
}

const HOST: Header = ["host", "127.0.0.1:8080"];
const ON_THE_HOT_PATH = ["sec-fetch-site", "origin", "idempotency-key"];

describe("readFraming", () => {
  it("never takes a bad Host for the good one before it", () => {
    assert.equal(readFraming(requestOf(HOST)), FRAMING_NO_BODY);
    assert.equal(readFraming(requestOf(["host", "a b"])), FRAMING_AMBIGUOUS);
    assert.equal(readFraming(requestOf(["host", "a b"])), FRAMING_AMBIGUOUS);
    assert.equal(readFraming(requestOf(HOST, HOST)), FRAMING_AMBIGUOUS);
    assert.equal(readFraming(requestOf(HOST)), FRAMING_NO_BODY);
  });

  it("knows a length of 0 like any other, and twice like none", () => {
    assert.equal(readFraming(requestOf(HOST, ["content-length", "0"])), 0);
    assert.equal(readFraming(requestOf(HOST, ["content-length", "00"])), 0);
    const twice = requestOf(HOST, ["content-length", "0"], ["content-length", "0"]);
    assert.equal(readFraming(twice), FRAMING_AMBIGUOUS);
  });

  it("knows an Idempotency-Key that is empty or not the only one", () => {
    const key: Header = ["idempotency-key", "k"];
    assert.equal(readFraming(requestOf(HOST, key)), FRAMING_NO_BODY);
    assert.equal(readFraming(requestOf(HOST, ["idempotency-key", ""])), FRAMING_BAD_KEY);
    assert.equal(readFraming(requestOf(HOST, key, key)), FRAMING_BAD_KEY);
    assert.equal(readFraming(requestOf(key, key)), FRAMING_AMBIGUOUS);
    assert.equal(readFraming(requestOf(HOST, ["idempotency-kez", ""])), FRAMING_NO_BODY);
  });
});

describe("seenHeaderBits", () => {
  it("has the bit of every header of the request", () => {
    for (const name of [...ON_THE_HOT_PATH, "authorization", "x", "a-header-of-some-length"]) {
      readFraming(requestOf(HOST, [name, ""]));
      assert.notEqual(seenHeaderBits() & headerBit(name), 0, name);
    }
  });

  it("forgets the request before", () => {
    readFraming(requestOf(HOST, ["origin", "http://elsewhere"]));
    readFraming(requestOf(HOST));
    assert.equal(seenHeaderBits() & headerBit("origin"), 0);
  });

  it("tells the headers that a program sends from those that the hot path asks for", () => {
    const names = ["content-length", "user-agent", "accept", "connection", "content-type"];
    readFraming(requestOf(HOST, ...names.map((name): Header => [name, "0"])));
    const bits = seenHeaderBits();
    const mistaken = ON_THE_HOT_PATH.filter((name) => (bits & headerBit(name)) !== 0);
    assert.deepEqual(mistaken, []);
  });
});
