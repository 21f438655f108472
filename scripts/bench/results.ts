/**
 * Keeps what each part came to in a file of its own, so that a failed part costs the tables of no other and a long run can
 * be done in pieces: docs/benchmarks.md is written anew after each part, from all that is kept.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { svgOf } from "./plots.ts";
import { markdownOf, type PartResult, plotFileName } from "./report.ts";

const KEPT = new URL("../../.cache/bench/", import.meta.url);
const DOCUMENTS = new URL("../../docs/", import.meta.url);

/** Replaces what the part came to before, and its plots. Errors: a plot that cannot be drawn; then nothing is replaced. */
export async function keepResult(result: PartResult): Promise<void> {
  const images = new Map<string, string>();
  for (const { plot, title } of result.tables ?? []) {
    if (plot !== undefined) images.set(plotFileName(plot), await svgOf(plot, title));
  }
  for (const [name, svg] of images) await writeFile(new URL(name, DOCUMENTS), svg);
  await mkdir(KEPT, { recursive: true });
  await writeFile(fileOf(result.part), JSON.stringify(result, null, 2));
}

/** Of the parts that have run, in the order of `parts`. */
export async function writeDocument(parts: readonly string[]): Promise<void> {
  const results: PartResult[] = [];
  for (const part of parts) {
    const text = await readFile(fileOf(part), "utf8").catch(() => null);
    if (text !== null) results.push(JSON.parse(text) as PartResult);
  }
  await writeFile(new URL("benchmarks.md", DOCUMENTS), markdownOf(results));
}

function fileOf(part: string): URL {
  return new URL(`${part}.json`, KEPT);
}
