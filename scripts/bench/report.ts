/**
 * Turns the results of parts into the Markdown of docs/benchmarks.md: the class of machine, how to read it, the tables, each
 * with the source and the command that it is of. Never a path of the machine it ran on.
 */
import { cpus, totalmem } from "node:os";
import { whole } from "./figures.ts";
import { RECOUNTED_MAX } from "./load-tool.ts";
import type { Plot, Table } from "./part.ts";

/** What a part came to when it last ran. */
export interface PartResult {
  readonly part: string;
  readonly command: string;
  /** As `commitText` names it. */
  readonly commit: string;
  readonly date: string;
  /** Null: it failed. */
  readonly tables: readonly Table[] | null;
}

/** In the order of `results`. */
export function markdownOf(results: readonly PartResult[]): string {
  const commits = [...new Set(results.map(({ commit }) => commit))];
  const parts = [
    "# Benchmarks",
    `Written by \`npm run bench\`, do not edit. Commit ${commits.join(", ")}: below each table is which one it is of.`,
    `Machine: ${machineClass()}. Server and load tool share these cores, over loopback; ` +
      `the counts of every run were verified afterwards, all up to ${whole(RECOUNTED_MAX)} domains and a sample of so many ` +
      "of more. Figures are medians of the rounds, " +
      "the targets of a part taking turns while the others idle beside them (three nodes and their servers take some 8 % of " +
      "a core then); minimum and maximum are given in brackets. CPU is that of " +
      "all processes of the target, user and system; `of bare` and the like are " +
      "ratios of each round.",
  ];
  return `${[...parts, ...results.map(sectionOf)].join("\n\n")}\n`;
}

function sectionOf({ part, command, commit, date, tables }: PartResult): string {
  const origin = `Commit ${commit}, \`${command}\`, ${date}.`;
  if (tables === null) return `## ${part}\n\nThis part failed. ${origin}`;
  return tables.map((table) => `${tableText(table)}\n\n${origin}`).join("\n\n");
}

/** Title, text, rows, and the image where there is a plot. The first column is text, the others are numbers. */
export function tableText({ title, text, columns, rows, plot }: Table): string {
  const rule = columns.map((_, index) => (index === 0 ? "---" : "--:"));
  const lines = [columns, rule, ...rows].map((cells) => `| ${cells.map(escaped).join(" | ")} |`);
  const parts = [`## ${title}`, text, lines.join("\n")];
  if (plot !== undefined) parts.push(`![${title}](${plotFileName(plot)})`);
  return parts.join("\n\n");
}

/** Beside benchmarks.md. */
export function plotFileName({ name }: Plot): string {
  return `benchmarks-${name}.svg`;
}

function escaped(cell: string): string {
  return cell.replaceAll("|", "\\|");
}

function machineClass(): string {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const memory = Math.round(totalmem() / 2 ** 30);
  const { platform, arch, version } = process;
  return `${cpus().length} cores (${model}), ${memory} GiB, ${platform} ${arch}, Node ${version}`;
}
