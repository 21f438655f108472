/** Defects of leases, the failure detector, the coordinator and the control table. */
import type { Mutant } from "./mutant.ts";

const COORDINATOR = "src/control-plane/coordinator.ts";
const LEASE = "src/control-plane/lease-keeper.ts";
const DETECTOR = "src/control-plane/failure-detector.ts";
const CHANGES = "src/control-plane/table-changes.ts";
const KEEPER = "src/control-plane/table-keeper.ts";
const COORDINATOR_TESTS = ["test/control-plane/coordinator.test.ts"] as const;
const DETECTOR_TESTS = ["test/control-plane/failure-detector.test.ts"] as const;
const SEAL = "await withinLimit(timers, log.seal(incarnation), SEAL_LIMIT_MS, () => {";

export const CONTROL_PLANE_MUTANTS: readonly Mutant[] = [
  {
    id: "seal-skipped",
    defect: "a dead member's partitions are given on up to the last sequence, unsealed",
    edits: [
      {
        file: COORDINATOR,
        find: SEAL,
        replace: SEAL.replace(
          "log.seal(",
          "(log as import('../wal/node-log.ts').NodeLog).lastSequence(",
        ),
      },
    ],
    // The first thing that goes wrong may be that the log is deleted without its seal.
    expects: ["I11", "I15"],
  },
  {
    id: "table-before-seal",
    defect: "the table is changed while the seal is still on its way",
    edits: [
      {
        file: COORDINATOR,
        find: SEAL,
        replace: SEAL.replace(
          "log.seal(incarnation)",
          "(void log.seal(incarnation).catch(() => 0), (log as import('../wal/node-log.ts')" +
            ".NodeLog).lastSequence(incarnation).then((last) => last + 1))",
        ),
      },
    ],
    expects: ["I11"],
  },
  {
    id: "dead-conflict-ignored",
    defect: "a refused DEAD counts as declared",
    edits: [
      {
        file: COORDINATOR,
        find: 'if (outcome.kind !== "committed") return false;',
        replace: 'if (outcome.kind === "unknown") return false;',
      },
    ],
    expects: ["I11", "I13"],
    // Needs a renewal that arrives between the last look at the leases and the DEAD.
    alsoTests: COORDINATOR_TESTS,
  },
  {
    id: "dead-unknown-taken-for-done",
    defect: "a DEAD of unknown outcome counts as declared",
    edits: [
      {
        file: COORDINATOR,
        find: 'if (outcome.kind !== "committed") return false;',
        replace: 'if (outcome.kind === "conflict") return false;',
      },
    ],
    expects: ["I11", "I13"],
    // Needs a DEAD that is lost on its way, of a member that had time to be suspected.
    alsoTests: COORDINATOR_TESTS,
  },
  {
    id: "suspicion-too-early",
    defect: "a member is suspected before its lease can have ended",
    edits: [
      {
        file: DETECTOR,
        find: "return ttlMs * (1 + CLOCK_DRIFT_RATIO) + SUSPICION_MARGIN_MS;",
        replace: "return ttlMs * 0.8;",
      },
    ],
    expects: ["I13"],
  },
  {
    id: "suspicion-not-restarted",
    defect: "silence counts on through an outage of the control store",
    edits: [
      {
        file: DETECTOR,
        find: "return nowMs - Math.max(known.receivedAtMs, own.continuousSinceMs);",
        replace: "return nowMs - known.receivedAtMs;",
      },
    ],
    expects: ["I13", "I20"],
    // Needs an outage longer than a lease, after which nodes come back one by one.
    alsoTests: DETECTOR_TESTS,
  },
  {
    id: "suspicion-while-blind",
    defect: "silence counts while the own renewals fail, and its revision is not expected",
    edits: [
      {
        file: DETECTOR,
        find: "if (known === undefined || own.continuousSinceMs === null) return null;",
        replace: "if (known === undefined) return null;",
      },
      {
        file: DETECTOR,
        find: "return nowMs - Math.max(known.receivedAtMs, own.continuousSinceMs);",
        replace: "return nowMs - known.receivedAtMs;",
      },
    ],
    expects: ["I13", "I20"],
    // As above.
    alsoTests: DETECTOR_TESTS,
  },
  {
    id: "lease-from-acknowledgement",
    defect: "the lease counts from the acknowledgement instead of the sending",
    edits: [
      { file: LEASE, find: "this.#validFrom = sent;", replace: "this.#validFrom = this.#now();" },
    ],
    // A lease believed too long: found as such, or by a read at the former owner.
    expects: ["I5", "I13"],
    // Needs an answer that is late, and nothing else that is wrong until the lease ends.
    alsoTests: ["test/control-plane/lease-keeper.test.ts"],
  },
  {
    id: "lease-without-wall-clock",
    defect: "the lease does not count the time of a suspended machine",
    edits: [{ file: LEASE, find: "wallMs - this.#validFrom.wallMs,", replace: "0," }],
    expects: ["I13", "I12"],
  },
  {
    id: "lease-unchecked",
    defect: "nobody asks whether the lease is valid",
    edits: [
      {
        file: "src/server/cluster-life.ts",
        find: "return this.#options.joined.lease.isValid() ? null",
        replace: "return this.incarnation > 0 ? null",
      },
    ],
    expects: ["I13", "I12", "I5", "I22"],
  },
  {
    id: "lease-answer-cached",
    defect: "whether the lease is valid is asked before what it is asked for, once every 300 ms",
    edits: [
      {
        file: LEASE,
        find: "return this.remainingMs() > 0;",
        replace:
          "const cache = this as unknown as { seen?: { atMs: number; isValid: boolean } };\n" +
          "    const atMs = this.#now().monotonicMs;\n" +
          "    if (cache.seen === undefined || atMs - cache.seen.atMs > 300) {\n" +
          "      cache.seen = { atMs, isValid: this.remainingMs() > 0 };\n    }\n" +
          "    return cache.seen.isValid;",
      },
    ],
    expects: ["I13", "I12", "I5", "I7", "I22"],
  },
  {
    id: "lineage-end-minus-one",
    defect: "a stretch ends one entry too early",
    edits: [
      {
        file: CHANGES,
        find: "const stretch = { epoch, incarnation: owner, endSequence };",
        replace: "const stretch = { epoch, incarnation: owner, endSequence: endSequence - 1 };",
      },
    ],
    expects: ["I11"],
  },
  {
    id: "lineage-end-plus-one",
    defect: "a stretch ends one entry too late",
    edits: [
      {
        file: CHANGES,
        find: "const stretch = { epoch, incarnation: owner, endSequence };",
        replace: "const stretch = { epoch, incarnation: owner, endSequence: endSequence + 1 };",
      },
    ],
    expects: ["I11"],
  },
  {
    id: "lineage-overwritten",
    defect: "only the last stretch is kept",
    edits: [{ file: CHANGES, find: ": [...lineage, stretch];", replace: ": [stretch];" }],
    expects: ["I16", "I22"],
  },
  {
    id: "stale-table-accepted",
    defect: "an older table replaces a newer one",
    edits: [
      {
        file: KEEPER,
        find: "if (record.revision <= (this.#version?.revision ?? 0)) return;",
        replace: "",
      },
      {
        file: KEEPER,
        find: "if (version.revision <= (before?.revision ?? 0)) return;",
        replace: "",
      },
      {
        file: KEEPER,
        find: "const breach = before === null ? null : successionBreach(before.table, version.table);",
        replace: "const breach = null as string | null; void successionBreach;",
      },
    ],
    expects: ["I9", "I10", "I11", "I12", "I16", "I22"],
    // Needs an old copy behind a newer one, and a change of owner between the two.
    alsoTests: ["test/control-plane/table-keeper.test.ts"],
  },
  {
    id: "control-cas-ignored",
    defect: "the control store takes a put whatever revision it expects",
    edits: [
      {
        file: "src/simulation/sim-control-store.ts",
        find: "if ((previous?.revision ?? 0) !== expectedRevision) {",
        replace: "if ((previous?.revision ?? 0) < expectedRevision) {",
      },
    ],
    expects: ["I9", "I11", "I13", "I16", "I22"],
  },
  {
    id: "log-deleted-early",
    defect: "the log of an ended member is deleted although a lineage names it",
    edits: [
      {
        file: "src/control-plane/cluster-cleaner.ts",
        find: "if (needed.has(incarnation)) return false;",
        replace: "",
      },
    ],
    expects: ["I15"],
  },
  {
    id: "balance-never-due",
    defect: "--auto-rebalance plans nothing once a node has come back",
    edits: [
      {
        file: "src/control-plane/coordinator.ts",
        find: "return isCalm && !isBusy && isAssigned && !this.#facts.isBalanced(table);",
        replace: "return isCalm && isBusy && isAssigned && !this.#facts.isBalanced(table);",
      },
    ],
    expects: ["I20"],
  },
  {
    id: "rebalance-planned-for-the-first",
    defect: "a balanced placement gives everything above the floor to one node",
    edits: [
      {
        file: "src/control-plane/hash-ring-placement.ts",
        find: "quotas.set(id, rest > 0 ? floor + 1 : floor);\n    rest--;",
        replace: "quotas.set(id, floor + Math.max(0, rest));\n    rest = 0;",
      },
    ],
    expects: ["I20"],
  },
];
