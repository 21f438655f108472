/**
 * The documents say what the source does: every error code, option, route and metric is in them, links lead somewhere,
 * and the promises that README makes about commands are those of package.json.
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { findMetrics, renderDocuments } from "../scripts/docs.ts";
import { ROUTES, templateOf } from "../src/api/routes.ts";
import { OPTIONS } from "../src/config/options.ts";
import { ERROR_CODES } from "../src/model/errors.ts";

const ROOT: string = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

function read(name: string): string {
  return readFileSync(path.join(ROOT, name), "utf8");
}

function documentNames(): readonly string[] {
  const inDocs = readdirSync(path.join(ROOT, "docs"), { recursive: true, encoding: "utf8" }).map(
    (name) => path.posix.join("docs", name.split(path.sep).join("/")),
  );
  const inRoot = readdirSync(ROOT);
  return [...inRoot, ...inDocs].filter((name) => name.endsWith(".md"));
}

function missingFrom(document: string, words: readonly string[]): readonly string[] {
  const text = read(document);
  assert.ok(words.length > 0);
  return words.filter((word) => !text.includes(word));
}

describe("Documents", () => {
  it("list every error code", () => {
    const codes = Object.keys(ERROR_CODES).map((code) => `| \`${code}\` |`);
    assert.deepEqual(missingFrom("docs/errors.md", codes), []);
  });

  it("list every option", () => {
    const flags = OPTIONS.map((option) => `| \`--${option.flag}\` |`);
    assert.deepEqual(missingFrom("docs/configuration.md", flags), []);
  });

  it("list every route", () => {
    const routes = ROUTES.map(
      (route) => `| \`${route.method}\` | \`${templateOf(route.pattern)}\` |`,
    );
    assert.deepEqual(missingFrom("docs/api.md", routes), []);
  });

  it("list every metric, with a meaning", () => {
    const metrics = findMetrics();
    assert.ok(metrics.some((metric) => metric.name === "catchall_http_request_duration_seconds"));
    assert.deepEqual(
      metrics.filter((metric) => metric.help === ""),
      [],
    );
    const names = metrics.map((metric) => `| \`${metric.name}\` |`);
    assert.deepEqual(missingFrom("docs/metrics.md", names), []);
  });

  it("are as fresh as the source (else: npm run docs)", () => {
    for (const [name, content] of renderDocuments()) {
      assert.equal(read(name), content, `${name} is out of date; run npm run docs`);
    }
  });

  it("link only to files that exist", () => {
    const broken = documentNames().flatMap((name) =>
      [...read(name).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map((match) => match[1] as string)
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => !existsSync(path.join(ROOT, path.dirname(name), target)))
        .map((target) => `${name} → ${target}`),
    );
    assert.deepEqual(broken, []);
  });

  it("name only npm scripts that exist", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const unknown = documentNames().flatMap((name) =>
      [...read(name).matchAll(/\bnpm run ([a-z:-]+)/g)]
        .map((match) => match[1] as string)
        .filter((script) => scripts[script] === undefined)
        .map((script) => `${name}: npm run ${script}`),
    );
    assert.deepEqual(unknown, []);
  });

  it("give every decision a number, a status and a place in the index", () => {
    const records = readdirSync(path.join(ROOT, "docs/adr")).filter((name) => /^\d/.test(name));
    const index = read("docs/adr/README.md");
    assert.ok(records.length >= 9);
    for (const name of records) {
      assert.match(name, /^\d{4}-[a-z0-9-]+\.md$/);
      assert.match(read(`docs/adr/${name}`), /Status: (?:accepted|proposed|superseded)/, name);
      assert.ok(index.includes(`(${name})`), `${name} is not in docs/adr/README.md`);
    }
  });

  it("keep ARCHITECTURE.md a map of the rooms that exist", () => {
    const text = read("ARCHITECTURE.md");
    const rooms = readdirSync(path.join(ROOT, "src"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => name.split(path.sep)[0] as string);
    assert.deepEqual(
      [...new Set(rooms)].filter((room) => !text.includes(`\`src/${room}\``)),
      [],
    );
    assert.ok(text.split("\n").length <= 250);
  });
});
