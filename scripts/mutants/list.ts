/** All mutants, in the order in which they run. */
import { CONTROL_PLANE_MUTANTS } from "./control-plane-mutants.ts";
import type { Mutant } from "./mutant.ts";
import { PARTITION_MUTANTS } from "./partition-mutants.ts";
import { WRITE_PATH_MUTANTS } from "./write-path-mutants.ts";

export const MUTANTS: readonly Mutant[] = [
  ...CONTROL_PLANE_MUTANTS,
  ...PARTITION_MUTANTS,
  ...WRITE_PATH_MUTANTS,
];
