/**
 * The rules of the house hold in every file of `src/`, and the rules themselves catch what they are for.
 * A rule without a seeded violation below is a rule that may have stopped working.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { isAdapter, MAY_IMPORT, violationsOf } from "./support/architecture-rules.ts";
import { type ScannedSource, scanSource } from "./support/source-scanner.ts";

const ROOT: string = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

function readSources(): readonly ScannedSource[] {
  return readdirSync(path.join(ROOT, "src"), { recursive: true, encoding: "utf8" })
    .map((name) => path.posix.join("src", name.split(path.sep).join("/")))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => scanSource(name, readFileSync(path.join(ROOT, name), "utf8")));
}

describe("Architecture", () => {
  const sources = readSources();

  it("finds the tree", () => {
    assert.ok(sources.length >= 20, `only ${sources.length} files under src/`);
    assert.ok(sources.some((source) => source.path === "src/model/errors.ts"));
    assert.ok(sources.flatMap((source) => source.imports).length > sources.length);
  });

  it("holds in every file of src/", () => {
    assert.deepEqual(sources.flatMap(violationsOf), []);
  });

  it("has an import table without cycles", () => {
    const depths = new Map<string, number>();
    const depthOf = (room: string, path: readonly string[]): number => {
      assert.ok(!path.includes(room), `cycle: ${[...path, room].join(" → ")}`);
      const known = depths.get(room);
      if (known !== undefined) return known;
      const below = (MAY_IMPORT[room] ?? []).map((next) => depthOf(next, [...path, room]));
      const depth = Math.max(-1, ...below) + 1;
      depths.set(room, depth);
      return depth;
    };
    for (const room of Object.keys(MAY_IMPORT)) depthOf(room, []);
    assert.equal(depths.get("model"), 0);
  });

  it("is printed in ARCHITECTURE.md as it is", () => {
    const document = readFileSync(path.join(ROOT, "ARCHITECTURE.md"), "utf8");
    const rows = Object.entries(MAY_IMPORT).map(
      ([room, rooms]) => `| \`${room}\` | ${rooms.length === 0 ? "nothing" : rooms.join(", ")} |`,
    );
    assert.deepEqual(
      rows.filter((row) => !document.includes(row)),
      [],
    );
  });
});

const HEADER = "/** What it is. */\n";

function violationsIn(filePath: string, text: string): readonly string[] {
  return violationsOf(scanSource(filePath, HEADER + text));
}

function caught(filePath: string, text: string, expected: RegExp): void {
  const found = violationsIn(filePath, text);
  assert.equal(found.length, 1, `expected one violation in ${filePath}: ${found.join("; ")}`);
  assert.match(found[0] as string, expected);
}

function clean(filePath: string, text: string): void {
  assert.deepEqual(violationsIn(filePath, text), []);
}

describe("Architecture rules", () => {
  it("catch an import against the direction", () => {
    caught("src/model/a.ts", 'import { b } from "../wal/b.ts";', /model may not import wal/);
    caught("src/wal/a.ts", 'import type { B } from "../commit/b.ts";', /wal may not import/);
    caught("src/router/a.ts", 'export { B } from "../http/b.ts";', /router may not import http/);
    caught("src/partition/a.ts", 'await import("../router/b.ts");', /may not import router/);
    caught("src/server/a.ts", 'import "../cli/b.ts";', /server may not import cli/);
    caught("src/http/a.ts", 'import {\n  b,\n  c,\n} from "../wal/b.ts";', /may not import wal/);
    clean("src/router/a.ts", 'import type { B } from "../partition/b.ts";\nimport "./c.ts";');
  });

  it("catch a room that is not in the table", () => {
    caught("src/utils/a.ts", "export const a = 1;", /not in the import table/);
  });

  it("catch an import from outside src/", () => {
    caught("src/wal/a.ts", 'import { b } from "../../test/b.ts";', /outside src/);
  });

  it("let the command start a node and nothing else of the server", () => {
    clean("src/cli/a.ts", 'import { main } from "../server/main.ts";');
    caught("src/cli/a.ts", 'import { b } from "../server/embedded.ts";', /cli may not import/);
    caught("src/runtime/a.ts", 'import { b } from "../model/event.ts";', /may import only/);
    clean("src/runtime/a.ts", 'import { b } from "../model/errors.ts";');
  });

  it("catch packages and node modules outside adapters", () => {
    caught("src/wal/file-node-log.ts", 'import fs from "node:fs";', /only adapters import/);
    caught("src/http/a.ts", 'import type { B } from "pino";', /only adapters import/);
    caught("src/model/domain-name.ts", 'import { toASCII } from "tr46";', /only adapters import/);
    clean("src/model/idna-names.ts", 'import { toASCII } from "tr46";');
    clean("src/runtime/node-disk.ts", 'import fs from "node:fs";');
    clean("src/server/main.ts", 'import process from "node:process";');
  });

  it("catch an adapter chosen away from the edge", () => {
    const text = 'import { NodeDisk } from "../runtime/node-disk.ts";';
    caught("src/wal/a.ts", text, /chooses adapters/);
    caught("src/server/assemble-node.ts", text, /chooses adapters/);
    clean("src/server/embedded.ts", text);
  });

  it("know adapters by the prefix of the file name", () => {
    assert.ok(isAdapter("src/http/uws-http-server.ts"));
    assert.ok(!isAdapter("src/wal/file-node-log.ts"));
    assert.ok(!isAdapter("src/wal/node-log.ts"));
    assert.ok(!isAdapter("src/node-things/log.ts"));
  });

  it("catch ambient time, randomness, timers and globals", () => {
    caught("src/wal/a.ts", "const at = Date.now();", /"Date" is ambient/);
    caught("src/wal/a.ts", "const at = new Date();", /line 2: "Date" is ambient/);
    caught("src/wal/a.ts", "const r = Math.random();", /"Math.random" is ambient/);
    caught("src/wal/a.ts", "setTimeout(() => {}, 1);", /"setTimeout" is ambient/);
    caught("src/wal/a.ts", "if (process.pid) {}", /"process" is ambient/);
    caught("src/wal/a.ts", "const id = crypto.randomUUID();", /"crypto" is ambient/);
    caught("src/wal/a.ts", `const text = \`at \${performance.now()}\`;`, /"performance"/);
    clean("src/runtime/node-clock.ts", "const at = Date.now();");
  });

  it("do not mistake words, properties and keys for globals", () => {
    clean("src/wal/a.ts", '// A Date of the process.\nconst a = "Date.now()";');
    clean("src/wal/a.ts", `const a = \`process \${b} Date\`; const c = /Date\\/"/;`);
    clean("src/wal/a.ts", "a.process(); const b = { process: 1 }; let updateDate = 1;");
  });

  it("catch a file without a header comment", () => {
    const found = violationsOf(scanSource("src/wal/a.ts", "export const a = 1;\n"));
    assert.deepEqual(found, ["src/wal/a.ts: does not open with a header comment"]);
  });

  it("catch a file that is too long", () => {
    caught("src/wal/a.ts", "a();\n".repeat(450), /has 451 lines/);
    clean("src/wal/a.ts", "a();\n".repeat(449));
  });

  it("catch leftovers", () => {
    caught("src/wal/a.ts", `// ${"TO"}DO: later`, /must not be merged/);
    caught("src/wal/a.ts", `/* ${"FIX"}ME */`, /must not be merged/);
  });
});

describe("Source scanner", () => {
  it("keeps line breaks and offsets", () => {
    const text = '/* a\nb */ const c = "d"; // e\nf();\n';
    const { code } = scanSource("src/wal/a.ts", text);
    assert.equal(code.length, text.length);
    assert.equal(code, '    \n     const c = " ";     \nf();\n');
  });

  it("finds code again after strings, templates and regular expressions", () => {
    const lines = [
      `const a = "it's // not a comment";`,
      `const b = \`x \${c({ d: \`y \${e} z\` })} // w\`;`,
      "const f = /[/\"'`]/g.test(g) ? h / 2 : i / 3;",
      'const j = "\\"";',
      "Date.now();",
    ];
    const { code } = scanSource("src/wal/a.ts", lines.join("\n"));
    assert.ok(code.endsWith("Date.now();"));
    assert.match(code, /c\(\{ d: ` {2}\$\{e\} {2}` \}\)/);
    assert.match(code, /h \/ 2 : i \/ 3/);
  });

  it("sees imports that are code and none that are text", () => {
    const lines = [
      'import a from "a";',
      `const b = 'import c from "c"';`,
      '// import "d";',
      "export * from './e.ts';",
      'Buffer.from("f");',
      'await import( "g");',
    ];
    const { imports } = scanSource("src/wal/a.ts", lines.join("\n"));
    assert.deepEqual(imports, ["a", "./e.ts", "g"]);
  });
});
