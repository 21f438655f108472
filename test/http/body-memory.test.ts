/** Memory of request bodies: taken, filled, given back, and used by the next. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { BodyMemory, ReceivedBody } from "../../src/http/body-memory.ts";

const MIB = 1024 * 1024;

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

describe("BodyMemory", () => {
  it("gives out what was given back, to a body that needs as much or less", () => {
    const memory = new BodyMemory();
    const block = memory.take(70_000);
    assert.equal(block.length, 131_072);
    memory.giveBack(block);
    assert.equal(memory.freeBytes, 131_072);
    assert.equal(memory.take(131_072), block);
    assert.equal(memory.freeBytes, 0);
  });

  it("never gives one block to two", () => {
    const memory = new BodyMemory();
    memory.giveBack(memory.take(5000));
    assert.notEqual(memory.take(5000), memory.take(5000));
  });

  it("keeps no large block and no more than its limit", () => {
    const memory = new BodyMemory();
    memory.giveBack(memory.take(MIB + 1));
    assert.equal(memory.freeBytes, 0);
    const blocks = Array.from({ length: 20 }, () => memory.take(MIB));
    for (const block of blocks) memory.giveBack(block);
    assert.equal(memory.freeBytes, 16 * MIB);
  });

  it("takes exactly as much as a large body announces", () => {
    assert.equal(new BodyMemory().take(3 * MIB + 5).length, 3 * MIB + 5);
  });
});

describe("ReceivedBody", () => {
  it("is the bytes of its chunks in order, however it has to grow", () => {
    const memory = new BodyMemory();
    for (const announced of [0, 10, 30_000]) {
      const body = new ReceivedBody(memory, announced);
      const whole = Buffer.alloc(30_000, "abcdefg");
      for (let at = 0; at < whole.length; at += 1700) body.add(whole.subarray(at, at + 1700));
      assert.ok(whole.equals(body.bytes), `announced ${announced}`);
      body.release();
    }
  });

  it("is empty when nothing came", () => {
    assert.equal(new ReceivedBody(new BodyMemory(), 100).bytes.length, 0);
  });

  it("gives its memory back once", () => {
    const memory = new BodyMemory();
    const body = new ReceivedBody(memory, 0);
    body.add(bytesOf("hello"));
    body.release();
    body.release();
    assert.equal(memory.freeBytes, 4096);
    assert.equal(body.bytes.length, 0);
  });

  it("keeps a copy: what was added may change", () => {
    const body = new ReceivedBody(new BodyMemory(), 0);
    const chunk = bytesOf("hello");
    body.add(chunk);
    chunk.fill(0);
    assert.equal(Buffer.from(body.bytes).toString(), "hello");
  });
});
