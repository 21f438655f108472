/**
 * `npm run docs`: writes the tables of errors, options, routes and metrics from the source.
 *
 * `test/docs.test.ts` compares what is committed with what this makes, so the documents can't fall behind.
 * Must never be the only place where something is said: it renders, it knows nothing of its own.
 */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { OPERATIONS } from "../src/api/openapi-operations.ts";
import { ROUTES, templateOf } from "../src/api/routes.ts";
import { rangeOf } from "../src/config/option-value.ts";
import { environmentNameOf, OPTION_GROUPS } from "../src/config/options.ts";
import { ERROR_CODES } from "../src/model/errors.ts";

const ROOT: string = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const NOTE = "Made by `npm run docs` from the source; do not edit.";

export interface Metric {
  readonly name: string;
  readonly kind: string;
  readonly help: string;
}

/** Path below the root → content. */
export function renderDocuments(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/errors.md", errorsDocument()],
    ["docs/configuration.md", configurationDocument()],
    ["docs/api.md", routesDocument()],
    ["docs/metrics.md", metricsDocument()],
  ]);
}

function page(title: string, intro: readonly string[], lines: readonly string[]): string {
  return `${[`# ${title}`, "", ...intro, "", NOTE, "", ...lines].join("\n")}\n`;
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)];
}

function errorsDocument(): string {
  const rows = Object.entries(ERROR_CODES).map(([code, row]) => [
    `\`${code}\``,
    String(row.status),
    row.effect,
    row.retryable ? "yes" : "no",
    row.title,
  ]);
  return page(
    "Errors",
    [
      "Every error is `application/problem+json` (RFC 9457) with a stable `code`. `effect` says what the caller may",
      "believe: `none` = nothing was counted, `unknown` = it may have been counted. After `unknown`, retry with the",
      "same Idempotency-Key; a request without a key might count twice.",
    ],
    table(["Code", "Status", "Effect", "A retry can help", "Meaning"], rows),
  );
}

function configurationDocument(): string {
  const lines = OPTION_GROUPS.flatMap((group) => [
    `## ${group.title}`,
    "",
    ...table(
      ["Flag", "Environment", "Default", "Allowed", "Meaning"],
      group.options.map((option) => [
        `\`--${option.flag}\``,
        `\`${environmentNameOf(option.flag)}\``,
        option.default === null ? "none" : `\`${option.default}\``,
        rangeOf(option.kind) ?? "text",
        option.description,
      ]),
    ),
    "",
  ]);
  return page(
    "Configuration",
    [
      "Precedence: flag, environment, file (`--config FILE.json`, an object of flag names and values), default.",
      "Unknown keys are errors; a wrong configuration ends with exit code 78 and one sentence per mistake. Sizes take",
      "KiB, MiB, GiB; durations ms, s, m, h.",
    ],
    lines.slice(0, -1),
  );
}

function routesDocument(): string {
  const rows = ROUTES.map((route) => [
    `\`${route.method}\``,
    `\`${templateOf(route.pattern)}\``,
    route.role,
    OPERATIONS[route.id].summary,
  ]);
  return page(
    "HTTP API",
    [
      "Every node answers for every domain. `GET /openapi.json` has the shapes; errors are in [errors.md](errors.md).",
      "Roles: `open` needs no token; the others need a token of that role once `--tokens-file` is given.",
    ],
    table(["Method", "Path", "Role", "Meaning"], rows),
  );
}

/** Metrics that the source registers, by name. */
export function findMetrics(): readonly Metric[] {
  const found = new Map<string, Metric>();
  for (const name of readdirSync(path.join(ROOT, "src"), { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts")) continue;
    const text = readFileSync(path.join(ROOT, "src", name), "utf8");
    const helpOfFile = /\bhelp = "([^"]+)"/.exec(text)?.[1] ?? "";
    const uses = text.matchAll(
      /\b(counter|histogram|gauge)\(\s*"([a-z_]+)",\s*(?:"([^"]+)"|help\b)/g,
    );
    for (const [, kind = "", metric = "", help = helpOfFile] of uses) {
      found.set(metric, { name: `catchall_${metric}`, kind, help });
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function metricsDocument(): string {
  return page(
    "Metrics",
    [
      "`GET /metrics` answers Prometheus text. Labels are route templates, codes and states: bounded sets, never a",
      "domain. The usual `process_*` and `nodejs_*` metrics (event-loop lag among them) come besides.",
    ],
    table(
      ["Metric", "Kind", "Meaning"],
      findMetrics().map((metric) => [`\`${metric.name}\``, metric.kind, metric.help]),
    ),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, content] of renderDocuments()) {
    writeFileSync(path.join(ROOT, name), content);
    console.log(name);
  }
}
