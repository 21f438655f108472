/**
 * Seeded defects (scripts/mutants/): each still applies to the source as it is, and the simulator sees the plainest of
 * them within a few seeds. `npm run mutants` runs all of them.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { LOW_LIMITS, MUTANTS } from "../../scripts/mutants/list.ts";
import { applyEdit, type Mutant } from "../../scripts/mutants/mutant.ts";
import { caught, MutantTree, seedRow } from "../../scripts/mutants.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Seen by nearly every seed. */
const PLAIN = ["lineage-end-minus-one", "acknowledged-before-append", "replay-from-watermark"];
const RANGE = { seed: 41, seeds: 8, catches: 1, limitMs: 120_000 };

describe("Mutants", () => {
  it("have names of their own, a defect each, and at least one invariant that sees it", () => {
    assert.ok(MUTANTS.length >= 20, `${MUTANTS.length} mutants`);
    assert.equal(new Set(MUTANTS.map(({ id }) => id)).size, MUTANTS.length);
    for (const { id, edits, expects } of MUTANTS) {
      assert.ok(edits.length > 0 && expects.length > 0, id);
    }
  });

  it("apply to the source as it is, each edit in exactly one place", async () => {
    for (const { id, edits } of [...MUTANTS, { id: "low limits", edits: LOW_LIMITS }]) {
      const texts = new Map<string, string>();
      for (const edit of edits) {
        const text = texts.get(edit.file) ?? (await readFile(join(ROOT, edit.file), "utf8"));
        assert.doesNotThrow(() => texts.set(edit.file, applyEdit(text, edit)), id);
        assert.notEqual(texts.get(edit.file), text, `${id} changes nothing`);
      }
    }
  });

  it("fail loudly where their text is missing or not alone", () => {
    const edit = { file: "a.ts", find: "x", replace: "y" };
    assert.equal(applyEdit("axb", edit), "ayb");
    assert.throws(() => applyEdit("ab", edit), /does not contain/);
    assert.throws(() => applyEdit("axbx", edit), /more than once/);
  });

  it("are caught by an invariant that was expected, and by no other alone", () => {
    const mutant = { id: "a", defect: "b", edits: [], expects: ["I5", "I13"] };
    const seen = (...rules: readonly string[][]) => ({
      reports: rules.map((each, seed) => ({ seed, rules: each, text: "" })),
      isLate: false,
      errors: "",
    });
    assert.equal(seedRow(mutant, seen([], ["I13"])).isOk, true);
    assert.equal(seedRow(mutant, seen(["I9", "I5"], ["I9"])).isOk, true);
    assert.equal(seedRow(mutant, seen(["I9"], ["I1"])).isOk, false);
    assert.match(seedRow(mutant, seen(["I9"])).text, /NOT EXPECTED: only I5\/I13/);
    assert.equal(seedRow(mutant, seen([], [])).isOk, false);
    assert.equal(seedRow(mutant, { ...seen(["I5"]), errors: "ended with 1" }).isOk, false);
    const tested = { ...mutant, alsoTests: ["test/a.test.ts"] };
    assert.equal(seedRow(tested, seen([])).isOk, true);
    assert.match(seedRow(tested, seen([])).text, /no seed, the tests decide/);
    assert.equal(seedRow(tested, seen(["I9"])).isOk, false);
  });

  it("are seen where they are plain, by an invariant that was expected", async () => {
    const tree = await MutantTree.create();
    try {
      for (const id of PLAIN) {
        const mutant = MUTANTS.find((one) => one.id === id) as Mutant;
        const report = await tree.with(mutant, () => tree.run(RANGE, () => undefined));
        const rules = caught(report).flatMap((seed) => seed.rules);
        const isExpected = rules.some((rule) => mutant.expects.includes(rule));
        assert.ok(isExpected, `${id}: ${rules.join()} ${report.errors}`);
      }
    } finally {
      await tree.remove();
    }
  });
});
