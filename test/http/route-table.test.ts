import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ROUTES } from "../../src/api/routes.ts";
import type { HttpRoute } from "../../src/http/http-server.ts";
import { RouteTable } from "../../src/http/route-table.ts";

function route(method: HttpRoute["method"], pattern: string): HttpRoute {
  return { method, pattern, handler: () => undefined };
}

const TABLE = new RouteTable([
  route("GET", "/a/:x"),
  route("GET", "/a/b"),
  route("GET", "/a/:x/c"),
  route("PUT", "/a/:x/:y"),
  route("GET", "/"),
]);

describe("RouteTable", () => {
  const cases: readonly (readonly [string, string, string | null, readonly string[]])[] = [
    ["GET", "/a/b", "/a/b", []],
    ["HEAD", "/a/b", "/a/b", []],
    ["GET", "/a/z", "/a/:x", ["z"]],
    ["GET", "/a/b/c", "/a/:x/c", ["b"]],
    ["PUT", "/a/1/2", "/a/:x/:y", ["1", "2"]],
    ["GET", "/", "/", []],
    ["GET", "/a/", null, []],
    ["GET", "/a//c", null, []],
    ["GET", "a/b", null, []],
    ["PATCH", "/a/b", null, []],
    ["GET", "", null, []],
  ];
  for (const [method, path, pattern, parameters] of cases) {
    it(`${method} "${path}" finds ${pattern}`, () => {
      const match = TABLE.match(method, path);
      assert.equal(match?.route.pattern ?? null, pattern);
      assert.deepEqual(match?.parameters ?? [], parameters);
    });
  }
  it("lists the methods of a path, HEAD and OPTIONS included, and none of an unknown one", () => {
    assert.deepEqual(TABLE.methodsOf("/a/b/c"), ["GET", "HEAD", "PUT", "OPTIONS"]);
    assert.deepEqual(TABLE.methodsOf("/nothing"), []);
  });
  it("finds each route of the product by its own pattern", () => {
    const table = new RouteTable(ROUTES.map(({ method, pattern }) => route(method, pattern)));
    for (const { method, pattern } of ROUTES) {
      const path = pattern.replaceAll(/:[a-z]+/g, "value");
      assert.equal(table.match(method, path)?.route.pattern, pattern);
    }
  });
});
