/**
 * Defects of the embedded node's files, of the adapter of the log in NATS, and of values that no simulated run is long
 * enough to reach: seen by tests over the simulated disk, at every byte and bit, on a real server, or against a model.
 */
import type { Mutant } from "./mutant.ts";

const LOG = "src/wal/file-node-log.ts";
const SEGMENT = "src/wal/file-segment.ts";
const READER = "src/wal/file-log-reader.ts";
const SCAN = "src/wal/segment-scan.ts";
const CRASH_TESTS = ["test/wal/file-node-log-crash.test.ts"] as const;
const LOG_TESTS = ["test/wal/file-node-log.test.ts"] as const;
const NATS_LOG_TESTS = ["test/wal/jetstream-node-log.test.ts"] as const;
const SCAN_TESTS = ["test/wal/segment-scan.test.ts"] as const;

export const DURABILITY_MUTANTS: readonly Mutant[] = [
  {
    id: "file-write-not-awaited",
    defect: "an entry is acknowledged before its write is synced",
    edits: [
      {
        file: SEGMENT,
        find: "await current.file.writeSynced(this.#position, this.#frame.subarray(0, recordBytes));",
        replace:
          "void current.file.writeSynced(this.#position, this.#frame.slice(0, recordBytes))" +
          ".catch(() => undefined);",
      },
    ],
    expects: ["I1"],
    tests: CRASH_TESTS,
  },
  {
    id: "file-failure-acknowledged",
    defect: "an append whose sync failed counts as committed",
    edits: [
      {
        file: LOG,
        find: 'return { kind: "unknown", reason };',
        replace: 'return { kind: "committed" };',
      },
    ],
    expects: ["I1"],
    tests: LOG_TESTS,
  },
  {
    id: "file-goes-on-after-failure",
    defect: "the log goes on after a failed sync",
    edits: [
      {
        file: LOG,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
        find: "own.closedFor ??= `an earlier write failed: ${reason}`;",
        replace: "",
      },
    ],
    expects: ["I1", "I2"],
    tests: LOG_TESTS,
  },
  {
    id: "directory-not-synced",
    defect: "the name of a new segment is not durable when its first entry is acknowledged",
    edits: [
      {
        file: SEGMENT,
        find: "await this.#disk.syncDirectory(this.#directory);",
        replace: "",
      },
    ],
    expects: ["I1"],
    tests: CRASH_TESTS,
  },
  {
    id: "torn-tail-not-cut",
    defect: "a torn last record counts as whole",
    edits: [
      {
        file: SCAN,
        find: "if (wholeSectors === count) return damaged(at, recordReason);",
        replace: 'if (wholeSectors > 0) return { verdict: "clean", offset: at, reason: "" };',
      },
    ],
    expects: ["I1", "I2"],
    tests: SCAN_TESTS,
  },
  {
    id: "damage-cut-as-torn",
    defect: "damage to acknowledged entries is cut off in silence, like a torn tail",
    edits: [
      {
        file: SCAN,
        find: 'return damaged(offset, "a sector\'s checksum is wrong");',
        replace: 'return { verdict: "torn", offset: at, reason: "cut" };',
      },
    ],
    expects: ["I1", "I15"],
    tests: SCAN_TESTS,
  },
  {
    id: "checksum-unchecked",
    defect: "the checksum of an entry is not compared",
    edits: [
      {
        file: "src/wal/entry-codec.ts",
        find: "if (crc !== entryCrc(bytes, offset, offset + length, previousCrc)) {",
        replace: "if (entryCrc(bytes, offset, offset + length, previousCrc) < 0) {",
      },
    ],
    expects: ["I1", "I10"],
    tests: ["test/wal/entry-codec.test.ts"],
  },
  {
    id: "last-record-believed",
    defect: "what was read after a failed sync is believed without being written again",
    edits: [
      {
        file: READER,
        find: "await file.writeSynced(validEnd - lastRecord.length, lastRecord);",
        replace: "void lastRecord;",
      },
    ],
    expects: ["I1", "I2"],
    tests: LOG_TESTS,
  },
  {
    id: "nats-append-unfenced",
    defect:
      "an append to the log in NATS names no last sequence: whoever lost the log still writes to it",
    edits: [
      {
        file: "src/wal/jetstream-node-log.ts",
        find: '"Nats-Expected-Last-Sequence": String(expectedLast),',
        replace: "",
      },
    ],
    expects: ["I10"],
    tests: NATS_LOG_TESTS,
  },
  {
    id: "half-applied-entry-acknowledged",
    defect: "an exception in the middle of an entry leaves it half applied, and the log goes on",
    edits: [
      {
        file: "src/commit/group-commit.ts",
        find: 'this.#settleFailure(sections.slice(applied), { kind: "unknown", reason });',
        replace:
          "void reason;\n      for (const section of sections.slice(applied + 1)) section.committed(entry);",
      },
    ],
    expects: ["I2", "I16"],
    tests: ["test/commit/group-commit.test.ts"],
  },
  {
    id: "window-too-short",
    defect: "a key is forgotten one bucket too early",
    edits: [
      {
        file: "src/partition/idempotency-window.ts",
        find: "const GRACE_MS = BUCKET_MS + WALL_LEAP_MS_MAX;",
        replace: "const GRACE_MS = WALL_LEAP_MS_MAX;",
      },
    ],
    expects: ["I6", "I8"],
    tests: ["test/partition/idempotency-window.test.ts"],
  },
  {
    id: "count-not-capped",
    defect: "a count goes on beyond 2^53 - 1",
    edits: [
      {
        file: "src/counters/entry-records.ts",
        find: "const after = Math.min(before + count, Number.MAX_SAFE_INTEGER);",
        replace: "const after = before + count;",
      },
    ],
    expects: ["I4"],
    tests: ["test/counters/counter-table.test.ts"],
  },
  {
    id: "import-counted-again",
    defect: "what of an import is in already counts again",
    edits: [
      {
        file: "src/partition/import-admission.ts",
        find: "return domains.filter(({ domain }) => isPlaceAfter(importPlaceOf(domain), mark));",
        replace: "return domains;",
      },
    ],
    expects: ["I2", "I3"],
    tests: ["test/server/import-source.test.ts"],
  },
  {
    id: "lookup-not-canonical",
    defect: "a domain is looked up as it was written, not in its canonical form",
    edits: [
      {
        file: "src/http/domain-handlers.ts",
        find: "  return parser.name();\n}",
        replace: "  return segment as DomainName;\n}",
      },
    ],
    expects: ["I5"],
    tests: ["test/http/handlers.test.ts"],
  },
];
