import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { createPinoLogger } from "../../src/runtime/pino-logger.ts";

interface Captured {
  readonly lines: string[];
  readonly write: (line: string) => void;
}

function capture(): Captured {
  const lines: string[] = [];
  return { lines, write: (line) => lines.push(line) };
}

describe("createPinoLogger", () => {
  it("writes one JSON line with level name, ISO time, fields and message", () => {
    const captured = capture();
    createPinoLogger("info", { destination: captured }).warn({ partition: 3 }, "Lease is short");
    assert.equal(captured.lines.length, 1);
    const { time, ...rest } = JSON.parse(captured.lines[0] as string);
    assert.match(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.deepEqual(rest, { level: "warn", partition: 3, msg: "Lease is short" });
  });

  it("writes nothing below its level", () => {
    const captured = capture();
    const logger = createPinoLogger("warn", { destination: captured });
    logger.debug({}, "a");
    logger.info({}, "b");
    assert.deepEqual(captured.lines, []);
    createPinoLogger("silent", { destination: captured }).error({}, "c");
    assert.deepEqual(captured.lines, []);
  });

  it("writes an error once, and its causes below it", () => {
    const captured = capture();
    const err = new Error("outer", { cause: new Error("inner") });
    createPinoLogger("info", { destination: captured }).error({ err }, "failed");
    const entry = JSON.parse(captured.lines[0] as string);
    assert.deepEqual([entry.err.message, entry.err.cause.message], ["outer", "inner"]);
  });

  it("keeps one entry on one line, whatever the text", () => {
    const captured = capture();
    const logger = createPinoLogger("info", { destination: captured });
    logger.info({ domain: 'a\n{"level":"error"}\u001b[2J\u009b31m' }, "two\r\nlines");
    assert.equal(captured.lines.length, 1);
    const line = (captured.lines[0] as string).trimEnd();
    assert.ok([...line].every((char) => char >= " " && !(char >= "\u007f" && char <= "\u009f")));
  });

  it("never writes a canary token, wherever it stands", () => {
    const canary = "c4n4ry-Zk81mQ";
    const captured = capture();
    const logger = createPinoLogger("debug", { destination: captured });
    const places = [
      { authorization: `Bearer ${canary}` },
      { headers: { Authorization: `Bearer ${canary}`, Cookie: canary } },
      { config: { natsToken: canary, mongoUrl: `mongodb://u:${canary}@db:27017/x` } },
      { urls: [`nats://${canary}@n1:4222`, `nats://u:${canary}@n1,nats://u:${canary}@n2`] },
      { a: { b: { c: { password: canary } } } },
      { err: new Error(`connect mongodb://u:p/${canary},x@db failed`) },
      { err: new Error("x", { cause: Object.assign(new Error("y"), { token: canary }) }) },
      { err: Object.assign(new Error("z"), { config: { x: canary }, options: { y: canary } }) },
      { deep: { deep: { deep: { deep: { deep: { deep: { deep: canary } } } } } } },
      { body: Buffer.from(canary) },
      { tokens: new Map([[canary, 1]]) },
      { url: new URL(`http://u:${canary}@h/`) },
    ];
    for (const fields of places) {
      logger.error(fields, `failed with Authorization: Bearer ${canary} at nats://u:${canary}@n`);
    }
    assert.equal(captured.lines.length, places.length);
    assert.equal(captured.lines.join("").includes(canary), false, captured.lines.join(""));
    assert.ok(captured.lines.join("").includes("mongodb://[redacted]@db"));
  });

  it("survives fields that cannot be read", () => {
    const captured = capture();
    const logger = createPinoLogger("info", { destination: captured });
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    const throwing = Object.defineProperty({}, "x", {
      enumerable: true,
      get: () => {
        throw new Error("no");
      },
    });
    logger.info(loop, "loop");
    logger.info({ throwing }, "getter");
    logger.info({ n: 1n, f: () => 1, s: Symbol("s") }, "odd");
    assert.deepEqual(
      captured.lines.map((line) => JSON.parse(line).msg),
      ["loop", "getter", "odd"],
    );
  });

  it("has written every line to standard output after flush, even when the process ends at once", () => {
    const module = new URL("../../src/runtime/pino-logger.ts", import.meta.url).href;
    const script = `
      const { createPinoLogger } = await import(${JSON.stringify(module)});
      const logger = createPinoLogger("info");
      for (let i = 0; i < 2000; i++) logger.info({ i }, "line");
      logger.flush();
      process.reallyExit(0);`;
    const run = spawnSync(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "--eval", script],
      { encoding: "utf8", maxBuffer: 1 << 24 },
    );
    assert.equal(run.stderr, "");
    const lines = run.stdout.trim().split("\n");
    assert.equal(lines.length, 2000);
    assert.equal(JSON.parse(lines.at(-1) as string).i, 1999);
  });
});
