/**
 * Seeded defects: puts each mutant of scripts/mutants/ into a copy of the source, one at a time, and runs the
 * simulator on it. A mutant that survives is a hole in the simulator: a fault, a piece of work or a check that is missing.
 * Usage: `npm run mutants -- [--only id,id] [--seed S] [--seeds N] [--catches K] [--limit SECONDS] [--list]`.
 * Each mutant runs until K seeds saw it as expected, or N seeds, or the time limit. The unmutated copy must pass all N seeds first.
 * A mutant is caught when a seed breaks one of the invariants that it names; one that breaks only others is a problem, of
 * the mutant's list or of a checker. Mutants where the simulator does not go run the test files that they name instead.
 * Those that few seeds see run them as well: there the tests decide, and the row says "no seed" where none saw it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { LOW_LIMITS, MUTANTS } from "./mutants/list.ts";
import { applyEdit, type Edit, type Mutant } from "./mutants/mutant.ts";
import type { SeedReport } from "./mutants/run-seeds.ts";
import { runTests, type TestRun } from "./mutants/run-tests.ts";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const COPIED = ["src", "scripts", "test", "package.json", "tsconfig.json"];
const ID_WIDTH = 34;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

export interface SeedRange {
  readonly seed: number;
  readonly seeds: number;
  /** Stop once so many seeds failed, by one of `expects` where it is given. */
  readonly catches: number;
  readonly expects?: readonly string[];
  readonly limitMs: number;
}

export interface MutantReport {
  readonly reports: readonly SeedReport[];
  readonly isLate: boolean;
  /** What it wrote to standard error; a mutant that does not even load says so here. */
  readonly errors: string;
}

/** One row of the table; `isOk` when it was caught. */
interface Row {
  readonly text: string;
  readonly isOk: boolean;
}

/** A copy of the source, in which one mutant at a time is made and unmade. */
export class MutantTree {
  isInterrupted = false;
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  static async create(): Promise<MutantTree> {
    const path = await mkdtemp(join(tmpdir(), "catchall-mutants-"));
    for (const name of COPIED) await cp(join(ROOT, name), join(path, name), { recursive: true });
    await symlink(join(ROOT, "node_modules"), join(path, "node_modules"), "dir");
    // Servers that were fetched before: tests of the copy need not fetch them again.
    const cache = join(ROOT, ".cache");
    if (existsSync(cache)) await symlink(cache, join(path, ".cache"), "dir");
    return new MutantTree(path);
  }

  async remove(): Promise<void> {
    await rm(this.#path, { recursive: true, force: true });
  }

  /**
   * `limits` are made as well: for tests none, they know the limits as they are. Throws when an edit does not apply. The
   * tree is as it was afterwards.
   */
  async with<T>(
    mutant: Mutant | null,
    work: () => Promise<T>,
    limits: readonly Edit[] = LOW_LIMITS,
  ): Promise<T> {
    const originals = new Map<string, string>();
    const texts = new Map<string, string>();
    for (const edit of [...limits, ...(mutant?.edits ?? [])]) {
      const path = join(this.#path, edit.file);
      const text = texts.get(path) ?? (await readFile(path, "utf8"));
      if (!originals.has(path)) originals.set(path, text);
      texts.set(path, applyEdit(text, edit));
    }
    try {
      for (const [path, text] of texts) await writeFile(path, text);
      return await work();
    } finally {
      for (const [path, text] of originals) await writeFile(path, text);
    }
  }

  /** Runs test files on the tree as it is now, in a process of their own. */
  async test(files: readonly string[], limitMs: number): Promise<TestRun> {
    // It ends its processes by itself.
    const interrupt = (): void => {
      this.isInterrupted = true;
    };
    for (const signal of SIGNALS) process.once(signal, interrupt);
    try {
      return await runTests(this.#path, files, limitMs);
    } finally {
      for (const signal of SIGNALS) process.off(signal, interrupt);
    }
  }

  /** Runs seeds on the tree as it is now, in a process of its own. */
  async run(range: SeedRange, onSeed: (report: SeedReport) => void): Promise<MutantReport> {
    const flags = ["--max-semi-space-size=64", "--import", "tsx", "scripts/mutants/run-seeds.ts"];
    const numbers = ["--seed", range.seed, "--seeds", range.seeds, "--catches", range.catches];
    if (range.expects !== undefined) numbers.push("--expects", range.expects.join());
    const child = spawn(process.execPath, [...flags, ...numbers.map(String)], {
      cwd: this.#path,
      stdio: ["ignore", "pipe", "pipe"],
    });
    // Interrupted: the child ends, its output with it, and the tree is removed on the way out.
    const interrupt = (): void => {
      this.isInterrupted = true;
      child.kill("SIGKILL");
    };
    for (const signal of SIGNALS) process.once(signal, interrupt);
    try {
      return await collect(child, range.limitMs, onSeed);
    } finally {
      for (const signal of SIGNALS) process.off(signal, interrupt);
    }
  }
}

/** What these tests say. */
async function testRow(
  tree: MutantTree,
  mutant: Mutant,
  files: readonly string[],
  limitMs: number,
): Promise<Row> {
  const base = await tree.test(files, limitMs);
  if (tree.isInterrupted) return { text: "interrupted", isOk: false };
  const run = await tree.with(mutant, () => tree.test(files, limitMs), []);
  const isSound = base.failed.length === 0 && base.errors === "" && !base.isLate;
  const isOk = isSound && run.failed.length > 0 && run.errors === "";
  const problem = isSound ? `SURVIVED ${run.errors}` : `the unmutated tests fail: ${base.failed}`;
  const seen = isOk ? `test: ${run.failed[0]}` : problem;
  return { text: `${seen}${run.isLate ? "; time limit" : ""}`, isOk };
}

async function collect(
  child: ChildProcess,
  limitMs: number,
  onSeed: (report: SeedReport) => void,
): Promise<MutantReport> {
  const reports: SeedReport[] = [];
  let errors = "";
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill("SIGKILL");
  }, limitMs);
  child.stderr?.on("data", (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-2000);
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    const report = JSON.parse(line) as SeedReport;
    reports.push(report);
    onSeed(report);
  }
  const code = await ended;
  clearTimeout(timer);
  if (code !== 0 && !isLate && errors === "") errors = `ended with ${String(code)}`;
  return { reports, isLate, errors: code === 0 || isLate ? "" : errors };
}

/** Seeds that saw it. */
export function caught({ reports }: MutantReport): readonly SeedReport[] {
  return reports.filter(({ rules }) => rules.length > 0);
}

/** Caught by an invariant that was expected. Without any seed only where tests decide. */
export function seedRow(mutant: Mutant, report: MutantReport): Row {
  const seen = caught(report);
  const by = new Map<string, number>();
  for (const { rules } of seen) {
    const rule = rules[0] as string;
    by.set(rule, (by.get(rule) ?? 0) + 1);
  }
  const rules = [...by].map(([rule, count]) => `${rule}×${count}`).join(" ");
  const isExpected = seen.some(({ rules }) => rules.some((rule) => mutant.expects.includes(rule)));
  const isTested = mutant.alsoTests !== undefined;
  const survived = isTested ? "no seed, the tests decide" : "SURVIVED";
  const notes = [
    seen.length === 0
      ? survived
      : isExpected
        ? ""
        : `NOT EXPECTED: only ${mutant.expects.join("/")}`,
    report.isLate ? "time limit" : "",
    report.errors === "" ? "" : `process failed: ${report.errors.trim().split("\n").at(-1)}`,
  ].filter((note) => note !== "");
  const share = `${seen.length}/${report.reports.length}`.padStart(7);
  const first = String(seen[0]?.seed ?? "–").padStart(5);
  const text = `${share} ${first}  ${rules} ${notes.join("; ")}`.trimEnd();
  const isOk = seen.length === 0 ? isTested : isExpected;
  return { text, isOk: isOk && report.errors === "" };
}

async function rowOf(tree: MutantTree, mutant: Mutant, range: SeedRange): Promise<Row> {
  const { tests, alsoTests } = mutant;
  if (tests !== undefined) return testRow(tree, mutant, tests, range.limitMs);
  const own = { ...range, expects: mutant.expects };
  const seen = seedRow(mutant, await tree.with(mutant, () => tree.run(own, () => undefined)));
  if (alsoTests === undefined) return seen;
  const test = await testRow(tree, mutant, alsoTests, range.limitMs);
  return { text: `${seen.text}; ${test.text}`, isOk: seen.isOk && test.isOk };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Problems: 0 or 1. */
async function runUnmutated(tree: MutantTree, range: SeedRange): Promise<number> {
  const limited = { ...range, limitMs: range.limitMs * 3 };
  const base = await tree.with(null, () => tree.run(limited, () => undefined));
  for (const { seed, rules, text } of caught(base))
    say(`unmutated, seed ${seed}: ${rules} ${text}`);
  const isBroken = caught(base).length > 0 || base.isLate || base.errors !== "";
  say(`unmutated: ${base.reports.length} seeds, ${caught(base).length} failed ${base.errors}`);
  return isBroken ? 1 : 0;
}

async function runAll(mutants: readonly Mutant[], range: SeedRange): Promise<number> {
  const tree = await MutantTree.create();
  let bad = 0;
  try {
    if (mutants.some(({ tests }) => tests === undefined)) bad += await runUnmutated(tree, range);
    say(`${"mutant".padEnd(ID_WIDTH)}  caught first  by`);
    for (const mutant of mutants) {
      if (tree.isInterrupted) return bad + 1;
      try {
        const { text, isOk } = await rowOf(tree, mutant, range);
        say(`${mutant.id.padEnd(ID_WIDTH)} ${text}`);
        if (!isOk) bad++;
      } catch (error) {
        say(`${mutant.id.padEnd(ID_WIDTH)} DOES NOT APPLY: ${String(error)}`);
        bad++;
      }
    }
  } finally {
    await tree.remove();
  }
  return bad;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      seed: { type: "string", default: "1" },
      seeds: { type: "string", default: "60" },
      catches: { type: "string", default: "3" },
      limit: { type: "string", default: "180" },
      list: { type: "boolean", default: false },
    },
  });
  const named = values.only?.split(",");
  const mutants = MUTANTS.filter(({ id }) => named === undefined || named.includes(id));
  const unknown = named?.filter((id) => !MUTANTS.some((mutant) => mutant.id === id)) ?? [];
  if (unknown.length > 0) throw new Error(`No such mutant: ${unknown.join(", ")}`);
  if (values.list) {
    for (const { id, defect, expects } of mutants) {
      say(`${id.padEnd(ID_WIDTH)} ${defect} (${expects.join(", ")})`);
    }
    return;
  }
  const bad = await runAll(mutants, {
    seed: Number(values.seed),
    seeds: Number(values.seeds),
    catches: Number(values.catches),
    limitMs: Number(values.limit) * 1000,
  });
  say(bad === 0 ? `All ${mutants.length} mutants were caught` : `${bad} problems`);
  if (bad > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
