/** All mutants, in the order in which they run. */
import { CONTROL_PLANE_MUTANTS } from "./control-plane-mutants.ts";
import { DURABILITY_MUTANTS } from "./durability-mutants.ts";
import type { Edit, Mutant } from "./mutant.ts";
import { PARTITION_MUTANTS } from "./partition-mutants.ts";
import { WRITE_PATH_MUTANTS } from "./write-path-mutants.ts";

/** Made wherever seeds run, unmutated as well: limits so low that the small tables of a simulation meet them. */
export const LOW_LIMITS: readonly Edit[] = [
  {
    file: "src/checkpoint/checkpointer.ts",
    find: "const SLICE_BYTES_MAX = 256 * 1024;",
    replace: "const SLICE_BYTES_MAX = 256;",
  },
  {
    file: "src/simulation/sim-checkpoint-writer.ts",
    find: "const PAGES_PER_REQUEST = 16;",
    replace: "const PAGES_PER_REQUEST = 2;",
  },
  {
    file: "src/partition/partition-host.ts",
    find: "const ENTRIES_PER_SLICE = 1024;",
    replace: "const ENTRIES_PER_SLICE = 2;",
  },
];

export const MUTANTS: readonly Mutant[] = [
  ...CONTROL_PLANE_MUTANTS,
  ...PARTITION_MUTANTS,
  ...WRITE_PATH_MUTANTS,
  ...DURABILITY_MUTANTS,
];
