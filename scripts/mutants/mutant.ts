/**
 * What a mutant is: one defect, made by small edits of the product's source (or of the simulated stores, where it stands
 * for a defect of an adapter), and the invariants that should see it.
 * Invariant: an edit applies only where its text is found exactly once; anything else fails loudly, never silently.
 */

export interface Edit {
  /** Below the root of the repository. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly id: string;
  /** The defect in a few words. */
  readonly defect: string;
  readonly edits: readonly Edit[];
  /** Invariants of docs/invariants.md that break: a seed that sees the mutant must see one of them break. */
  readonly expects: readonly string[];
  /** Where the simulator does not go: the test files that should see it, run instead. */
  readonly tests?: readonly string[];
  /** Seen by few seeds: test files that see it in every run as well. */
  readonly alsoTests?: readonly string[];
}

/** The text after the edit. Throws unless `find` is there exactly once. */
export function applyEdit(text: string, { file, find, replace }: Edit): string {
  const at = text.indexOf(find);
  if (at < 0) throw new Error(`${file} does not contain: ${find}`);
  if (text.indexOf(find, at + 1) >= 0) throw new Error(`${file} contains more than once: ${find}`);
  return text.slice(0, at) + replace + text.slice(at + find.length);
}
