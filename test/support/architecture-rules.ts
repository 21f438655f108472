/**
 * The rules of the house as functions from a scanned file to sentences about what is wrong with it.
 *
 * `MAY_IMPORT` is the import table that ARCHITECTURE.md prints. Exceptions are named here, one by one, with a reason.
 * Must never read the tree itself: `test/architecture.test.ts` feeds it the real files and seeded violations alike.
 */

import path from "node:path";
import type { ScannedSource } from "./source-scanner.ts";

const FILE_LINES_MAX = 450;

/** Room → rooms it may import besides itself. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  model: [],
  runtime: ["model"],
  api: ["model"],
  config: ["model", "runtime"],
  counters: ["model", "runtime"],
  wal: ["model", "runtime"],
  transport: ["model", "runtime"],
  notifications: ["model", "runtime"],
  checkpoint: ["model", "runtime", "counters", "wal"],
  "control-plane": ["model", "runtime", "transport", "wal"],
  client: ["api", "model"],
  commit: ["model", "runtime", "wal"],
  partition: ["model", "runtime", "counters", "wal", "commit", "checkpoint"],
  router: ["model", "runtime", "transport", "partition"],
  http: ["api", "model", "runtime", "router"],
  dashboard: ["api", "model", "runtime", "http"],
  server: [
    "model",
    "runtime",
    "api",
    "config",
    "counters",
    "wal",
    "transport",
    "notifications",
    "checkpoint",
    "control-plane",
    "commit",
    "partition",
    "router",
    "http",
    "dashboard",
  ],
  cli: ["api", "model", "runtime", "client", "config", "wal", "checkpoint"],
  simulation: [
    "model",
    "runtime",
    "api",
    "config",
    "counters",
    "wal",
    "transport",
    "notifications",
    "checkpoint",
    "control-plane",
    "commit",
    "partition",
    "router",
    "http",
  ],
};

/** Single files that a room may import although the table does not allow their room. */
const MAY_IMPORT_FILE: Readonly<Record<string, readonly string[]>> = {
  // `catchall serve` starts a node in its own process; `verify` and `import` read what is stored with its wiring.
  cli: [
    "src/server/main.ts",
    "src/server/verify.ts",
    "src/server/verify-cluster.ts",
    "src/server/verify-servers.ts",
    "src/server/import-source.ts",
  ],
  // The simulator runs the production wiring.
  simulation: [
    "src/server/assemble-node.ts",
    "src/server/assemble-cluster-node.ts",
    "src/server/embedded.ts",
  ],
};

/** A room may import this much of another and no more: the floor must not grow into a layer. */
const ONLY_FILES: Readonly<Record<string, readonly string[]>> = {
  // Ports and adapters name their failures by code.
  "runtime → model": ["src/model/errors.ts"],
};

const ADAPTER_PREFIX = /^(?:uws|nats|jetstream|mongo|node|pino|prometheus|webhook)-/;
/** Here "node" is a node of ours, not Node.js: these keep the rules of ordinary files. */
const NOT_ADAPTERS: readonly string[] = [
  "src/wal/node-log.ts",
  "src/http/node-handlers.ts",
  "src/server/node-metrics.ts",
];
/** Rooms at the edge of the process: they may use packages and `node:*` in any file. */
const EDGE_ROOMS: readonly string[] = ["server", "cli", "client"];

interface PackageException {
  readonly file: RegExp;
  readonly packageName: string;
}

const PACKAGE_EXCEPTIONS: readonly PackageException[] = [
  // Pure tables of UTS-46; see docs/adr/0009-tools-and-node-20.md.
  { file: /^src\/model\/idna-[a-z0-9-]+\.ts$/, packageName: "tr46" },
  // Pure; gives the order of preference only.
  { file: /^src\/control-plane\/hash-ring-placement\.ts$/, packageName: "hashring" },
];

const AMBIENT = [
  "Date",
  "performance",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "process",
  "crypto",
  "console",
  "fetch",
  "globalThis",
].join("|");
// Not after a dot (a property) and not before a colon (a key or a parameter).
const AMBIENT_USE = new RegExp(`(?<![.\\w$#])(?:${AMBIENT})\\b(?!\\s*\\??:)`, "g");
const RANDOM_USE = /\bMath\s*\.\s*random\b/g;

/** Every rule over one file of `src/`; an empty list means that all hold. */
export function violationsOf(source: ScannedSource): readonly string[] {
  return [
    ...directionViolations(source),
    ...packageViolations(source),
    ...adapterImportViolations(source),
    ...ambientViolations(source),
    ...headerViolations(source),
    ...lengthViolations(source),
    ...leftoverViolations(source),
  ].map((violation) => `${source.path}: ${violation}`);
}

export function isAdapter(filePath: string): boolean {
  return ADAPTER_PREFIX.test(path.posix.basename(filePath)) && !NOT_ADAPTERS.includes(filePath);
}

function roomOf(filePath: string): string {
  return filePath.split("/")[1] ?? "";
}

function isEdge(filePath: string): boolean {
  return EDGE_ROOMS.includes(roomOf(filePath));
}

/** Repository path of a relative import; null for packages. */
function resolve(source: ScannedSource, specifier: string): string | null {
  if (!specifier.startsWith(".")) return null;
  return path.posix.join(path.posix.dirname(source.path), specifier);
}

function directionViolations(source: ScannedSource): readonly string[] {
  const room = roomOf(source.path);
  const allowed = MAY_IMPORT[room];
  if (allowed === undefined) return [`room "${room}" is not in the import table`];
  const found: string[] = [];
  for (const specifier of source.imports) {
    const target = resolve(source, specifier);
    if (target === null) continue;
    if (!target.startsWith("src/")) {
      found.push(`imports "${specifier}", which lies outside src/`);
      continue;
    }
    const targetRoom = roomOf(target);
    if (targetRoom === room) continue;
    if (MAY_IMPORT_FILE[room]?.includes(target) === true) continue;
    const only = ONLY_FILES[`${room} → ${targetRoom}`];
    if (!allowed.includes(targetRoom)) found.push(`${room} may not import ${targetRoom}`);
    else if (only !== undefined && !only.includes(target)) {
      found.push(`${room} may import only ${only.join(", ")} of ${targetRoom}`);
    }
  }
  return found;
}

function packageViolations(source: ScannedSource): readonly string[] {
  if (isAdapter(source.path) || isEdge(source.path)) return [];
  return source.imports
    .filter((specifier) => !specifier.startsWith("."))
    .filter(
      (specifier) =>
        !PACKAGE_EXCEPTIONS.some(
          ({ file, packageName }) => packageName === specifier && file.test(source.path),
        ),
    )
    .map((specifier) => `only adapters import packages, not "${specifier}"`);
}

function adapterImportViolations(source: ScannedSource): readonly string[] {
  const isWiring = source.path === "src/server/assemble-node.ts";
  if (!isWiring && (isAdapter(source.path) || isEdge(source.path))) return [];
  return source.imports
    .map((specifier) => resolve(source, specifier))
    .filter((target) => target !== null && isAdapter(target))
    .map((target) => `only the edge of the process chooses adapters, not ${target}`);
}

function ambientViolations(source: ScannedSource): readonly string[] {
  if (isAdapter(source.path) || isEdge(source.path)) return [];
  return [...source.code.matchAll(AMBIENT_USE), ...source.code.matchAll(RANDOM_USE)].map(
    (match) => `line ${lineOf(source.code, match.index)}: "${match[0]}" is ambient; take a port`,
  );
}

function headerViolations(source: ScannedSource): readonly string[] {
  const text = source.text.replace(/^#!.*\n/, "");
  return /^\/\*\*|^\/\//.test(text) ? [] : ["does not open with a header comment"];
}

function lengthViolations(source: ScannedSource): readonly string[] {
  const lines = source.text.split("\n").length - 1;
  return lines > FILE_LINES_MAX ? [`has ${lines} lines; the limit is ${FILE_LINES_MAX}`] : [];
}

function leftoverViolations(source: ScannedSource): readonly string[] {
  return [...source.text.matchAll(/\b(?:TODO|FIXME|XXX|PLACEHOLDER)\b/g)].map(
    (match) => `line ${lineOf(source.text, match.index)}: ${match[0]} must not be merged`,
  );
}

function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}
