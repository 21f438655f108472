/**
 * `rule show` and `rule set`: the classification rule. `set` changes only what is named; the rest stays as it is.
 */

import { type Command, InvalidArgumentError } from "commander";
import type { Rule } from "../../client/index.ts";
import {
  type CliContext,
  type ConnectionFlags,
  clientOf,
  UsageError,
  withConnection,
} from "../context.ts";
import { countOf, formatCount, printJson, printLine, printTable } from "../output.ts";

interface RuleFlags extends ConnectionFlags {
  readonly deliveredThreshold?: number;
  readonly bouncedThreshold?: number;
  /** "none" forgives no bounce. */
  readonly maxBounceRatio?: number | "none";
  readonly dryRun?: boolean;
}

export function registerRule(program: Command, context: CliContext): void {
  const rule = program.command("rule").description("show or change the classification rule");
  const show = rule
    .command("show", { isDefault: true })
    .description("show the rule in force")
    .action((flags: ConnectionFlags) => showRule(flags, context));
  const set = rule
    .command("set")
    .description("change the rule; every domain is classified anew")
    .option("--delivered-threshold <n>", "catch-all needs more delivered than this", parseWhole)
    .option("--bounced-threshold <n>", "not catch-all from so many bounced", parseWhole)
    .option(
      "--max-bounce-ratio <r>",
      "bounces forgiven up to this share (0 to 1), or none",
      parseRatio,
    )
    .option("--dry-run", "only show how many domains would change")
    .addHelpText("after", "\nExample:\n  catchall rule set --delivered-threshold 500 --dry-run")
    .action((flags: RuleFlags) => setRule(flags, context));
  for (const command of [show, set]) withConnection(command, context);
}

async function showRule(flags: ConnectionFlags, context: CliContext): Promise<void> {
  const rule = await clientOf(flags).rule({ signal: context.signal });
  if (flags.json === true) return printJson(context, rule);
  await printRule(rule, context);
}

async function printRule(rule: Rule, context: CliContext): Promise<void> {
  await printTable(
    context,
    ["SETTING", "VALUE"],
    [
      ["delivered threshold", formatCount(rule.deliveredThreshold)],
      ["bounced threshold", formatCount(rule.bouncedThreshold)],
      ["max bounce ratio", rule.maxBounceRatio === null ? "none" : String(rule.maxBounceRatio)],
    ],
  );
}

async function setRule(flags: RuleFlags, context: CliContext): Promise<void> {
  const { deliveredThreshold, bouncedThreshold, maxBounceRatio } = flags;
  if (
    deliveredThreshold === undefined &&
    bouncedThreshold === undefined &&
    maxBounceRatio === undefined
  ) {
    throw new UsageError(
      "Name at least one of --delivered-threshold, --bounced-threshold, --max-bounce-ratio",
    );
  }
  const client = clientOf(flags);
  const { signal } = context;
  const current = await client.rule({ signal });
  const ratio = maxBounceRatio ?? current.maxBounceRatio;
  const wanted: Rule = {
    deliveredThreshold: deliveredThreshold ?? current.deliveredThreshold,
    bouncedThreshold: bouncedThreshold ?? current.bouncedThreshold,
    maxBounceRatio: ratio === "none" ? null : ratio,
  };
  const isDryRun = flags.dryRun === true;
  const report = await client.setRule(wanted, { isDryRun, signal });
  if (flags.json === true) return printJson(context, report);
  await printRule(report.rule, context);
  const verb = isDryRun ? "would change" : "changed";
  printLine(context, `${countOf(report.domainsChanged, "domain")} ${verb} status`);
  if (report.transitions.length === 0) return;
  const rows = report.transitions.map(({ from, to, count }) => [from, to, count]);
  await printTable(context, ["FROM", "TO", "DOMAINS"], rows);
}

function parseWhole(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function parseRatio(text: string): number | "none" {
  if (text === "none") return text;
  const ratio = /^\d(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(ratio <= 1)) throw new InvalidArgumentError("It must be a number from 0 to 1, or none.");
  return ratio;
}
