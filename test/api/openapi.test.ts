/**
 * The document and the route table name the same routes, and the document is valid OpenAPI.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { openApiDocument } from "../../src/api/openapi.ts";
import { ROUTES, templateOf } from "../../src/api/routes.ts";
import { ERROR_CODES } from "../../src/model/errors.ts";

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly responses: Readonly<Record<string, unknown>>;
  readonly security: readonly unknown[];
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<
      Record<string, { readonly properties?: Record<string, { enum?: string[] }> }>
    >;
  };
}

const document = openApiDocument({ version: "0.1.0" }) as unknown as Document;

describe("openApiDocument", () => {
  it("has every route of the table and no other", () => {
    const inTable = ROUTES.map((route) => `${route.method} ${templateOf(route.pattern)}`).sort();
    const inDocument = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    assert.deepEqual(inDocument.sort(), inTable);
  });

  it("lists every error code in the problem schema", () => {
    const codes = document.components.schemas["Problem"]?.properties?.["code"]?.enum;
    assert.deepEqual(codes, Object.keys(ERROR_CODES));
  });

  it("says which routes need a token, and that these may answer 401 and 403", () => {
    for (const route of ROUTES) {
      const operation = document.paths[templateOf(route.pattern)]?.[
        route.method.toLowerCase()
      ] as Operation;
      assert.equal(operation.security.length > 0, route.role !== "open", route.id);
      assert.equal(
        "401" in operation.responses && "403" in operation.responses,
        route.role !== "open",
        route.id,
      );
    }
  });

  it("refers only to schemas that are there, and to each of them", () => {
    const used = new Set(
      [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map((m) => m[1]),
    );
    assert.deepEqual([...used].sort(), Object.keys(document.components.schemas).sort());
  });

  it("is valid OpenAPI 3.1 to the linter", async () => {
    const config = await createConfig({
      extends: ["recommended"],
      rules: { "security-defined": "error" },
    });
    const problems = await lintFromString({
      source: JSON.stringify(document),
      absoluteRef: "openapi.json",
      config,
    });
    const errors = problems.filter((problem) => problem.severity === "error");
    assert.deepEqual(
      errors.map(
        (problem) => `${problem.ruleId}: ${problem.message} ${problem.location[0]?.pointer}`,
      ),
      [],
    );
  });
});
