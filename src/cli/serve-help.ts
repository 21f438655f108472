/** The text of `catchall serve --help`, made from the option table. */

import { parseOption, rangeOf } from "../config/option-value.ts";
import { environmentNameOf, OPTION_GROUPS, type OptionRow } from "../config/options.ts";

const TERM_WIDTH = 34;

export function serveHelp(): string {
  const lines = [
    "Usage: catchall serve [--config FILE.json] [options]",
    "",
    "Runs a node. Without --nats-url it is embedded: one process, data in --data-dir.",
    "Precedence: flag, environment (CATCHALL_ and the flag in upper snake case), file, default.",
    "",
    "  --config <file>                   JSON object of option names and values (env CATCHALL_CONFIG)",
  ];
  for (const { title, options } of OPTION_GROUPS) {
    lines.push("", `${title}:`, ...options.map(optionLine));
  }
  lines.push(
    "",
    "Examples:",
    "  catchall serve --port 9000",
    "  CATCHALL_PORT=9000 catchall serve",
  );
  lines.push(`  ${environmentNameOf("log-level")}=debug catchall serve --config node.json`, "");
  return lines.join("\n");
}

function optionLine(option: OptionRow): string {
  const value = option.kind.type === "boolean" ? "" : ` <${valueName(option)}>`;
  const isSwitch = option.kind.type === "boolean" || option.kind.type === "choice";
  const range = rangeOf(option.kind);
  const notes = [
    range === null || isSwitch ? "" : range,
    option.kind.type === "choice" && range !== null && option.flag !== "http" ? range : "",
    option.default === null || !("value" in parseOption(option.kind, option.default))
      ? ""
      : `default ${option.default}`,
  ].filter((part) => part !== "");
  const note = notes.length === 0 ? "" : ` [${notes.join("; ")}]`;
  return `  ${`--${option.flag}${value}`.padEnd(TERM_WIDTH - 2)} ${option.description}${note}`;
}

function valueName(option: OptionRow): string {
  const names: Partial<Record<OptionRow["kind"]["type"], string>> = {
    path: "path",
    integer: "n",
    powerOfTwo: "n",
    durationMs: "time",
    sizeBytes: "size",
    url: "url",
    urls: "urls",
    choice: "name",
  };
  return names[option.kind.type] ?? "text";
}
