/** Answers arrive in any pieces; what is not HTTP must throw rather than be believed. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ResponseError, ResponseParser } from "../../src/cli/load/response-parser.ts";

const NO_CONTENT = "HTTP/1.1 204 No Content\r\nuWebSockets: 20\r\n\r\n";
const PROBLEM = 'HTTP/1.1 503 x\r\nRetry-After: 2\r\nContent-Length: 7\r\n\r\n{"a":1}';
const CHUNKED =
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";

function parse(text: string, pieceBytes: number): ResponseParser | null {
  const parser = new ResponseParser();
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    if (parser.push(bytes.subarray(at, at + pieceBytes))) return parser;
  }
  return null;
}

describe("ResponseParser", () => {
  it("reads answers cut into pieces of any size", () => {
    for (let size = 1; size < 120; size++) {
      assert.equal(parse(NO_CONTENT, size)?.status, 204);
      const problem = parse(PROBLEM, size);
      assert.deepEqual([problem?.status, problem?.header("retry-after")], [503, "2"]);
      assert.equal(problem?.body.toString(), '{"a":1}');
      assert.equal(parse(CHUNKED, size)?.body.toString(), "abc0123456789");
    }
  });

  it("tells a replay and a closing connection from a plain 204 before and after it", () => {
    const parser = new ResponseParser();
    const replayed = "HTTP/1.1 204 No Content\r\nIdempotency-Replayed: true\r\n\r\n";
    const closing = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    for (const [text, isReplayed, isClosing] of [
      [NO_CONTENT, false, false],
      [NO_CONTENT, false, false],
      [replayed, true, false],
      [replayed, true, false],
      [closing, false, true],
      [NO_CONTENT, false, false],
      [PROBLEM, false, false],
      [NO_CONTENT, false, false],
    ] as const) {
      assert.ok(parser.push(Buffer.from(text)));
      assert.deepEqual([parser.isReplayed, parser.isClosing], [isReplayed, isClosing]);
    }
    assert.equal(parser.status, 204);
  });

  it("skips interim answers", () => {
    assert.equal(parse(`HTTP/1.1 100 Continue\r\n\r\n${NO_CONTENT}`, 10)?.status, 204);
  });

  it("throws for what it cannot trust", () => {
    for (const text of [
      "SSH-2.0-OpenSSH\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\r\nuntil closed",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
      "HTTP/1.1 204 No Content\r\n\r\nbody",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "x".repeat(70_000),
    ]) {
      assert.throws(() => parse(text, 100_000), ResponseError, text.slice(0, 60));
    }
  });
});
