import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HttpServerOptions } from "../../src/http/http-server.ts";
import { openHttpServer } from "../../src/http/node-open-http-server.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";

const OPTIONS: HttpServerOptions = {
  routes: [],
  fallback: (_request, reply) => reply.send(404, [], null),
  onError: () => undefined,
  requestDeadlineMs: 1000,
  bodyDeadlineMs: 1000,
  urlBytesMax: 100,
  tls: null,
};

describe("openHttpServer", () => {
  for (const [asked, kind] of [
    ["uws", "uws"],
    ["node", "node"],
    ["auto", "uws"],
  ] as const) {
    it(`opens ${kind} for ${asked}`, async () => {
      const server = await openHttpServer(asked, OPTIONS, SILENT_LOGGER);
      assert.equal(server.kind, kind);
      const port = await server.listen("127.0.0.1", 0);
      assert.equal((await fetch(`http://127.0.0.1:${port}/x`)).status, 404);
      await server.close();
    });
  }
  it("falls back for auto with one line that says why, and never for uws", async () => {
    const lines: unknown[] = [];
    const log = { ...SILENT_LOGGER, warn: (fields: unknown) => lines.push(fields) };
    const failing = async (): Promise<never> => Promise.reject(new Error("no binary"));
    const server = await openHttpServer("auto", OPTIONS, log, failing);
    assert.equal(server.kind, "node");
    assert.deepEqual(lines, [{ reason: "no binary" }]);
    await assert.rejects(openHttpServer("uws", OPTIONS, log, failing), /no binary/);
    await server.close();
  });
});
