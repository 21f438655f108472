/** Defects of admission, keys, moves, recovery and replay. */
import type { Mutant } from "./mutant.ts";

const ACTOR = "src/partition/partition-actor.ts";
const STATE = "src/partition/partition-state.ts";
const REPLAY = "src/partition/replay.ts";
const SUPERVISOR = "src/server/partition-supervisor.ts";
const INCOMING = "src/server/incoming-move.ts";
const REPEAT =
  "if (producerSequence <= committed) return batch.committed(this.#keysOfRepeat(batch));";

export const PARTITION_MUTANTS: readonly Mutant[] = [
  {
    id: "read-after-release",
    defect: "reads are still answered after RELEASE",
    edits: [
      {
        file: ACTOR,
        find: "assertReadable(): void {\n    const refusal = this.refusal();",
        replace: "assertReadable(): void {\n    const refusal = this.#refusal();",
      },
      { file: SUPERVISOR, find: "host.close(partition);", replace: "void host;" },
    ],
    expects: ["I5", "I7", "I22"],
    // Needs a read through the old owner after the RELEASE, and an event at the new one before it.
    alsoTests: ["test/partition/partition-actor.test.ts"],
  },
  {
    id: "admission-during-release",
    defect: "a partition that is being released still admits and reads",
    edits: [{ file: SUPERVISOR, find: "actor.close();", replace: "" }],
    expects: ["I10", "I12"],
  },
  {
    id: "release-not-appended",
    defect: "the owner gives a partition away without RELEASE",
    edits: [
      {
        file: SUPERVISOR,
        find: "endSequence = await appendMark(commit, state, epoch, SECTION_RELEASE);",
        replace: "endSequence = commit.sequence; void appendMark; void SECTION_RELEASE;",
      },
    ],
    expects: ["I11"],
  },
  {
    id: "move-finished-by-target",
    defect: "the target takes a partition itself when its owner does not answer",
    edits: [
      {
        file: INCOMING,
        find: 'import { CatchallError } from "../model/errors.ts";',
        replace:
          'import { finishMove } from "../control-plane/table-changes.ts";\n' +
          'import { CatchallError } from "../model/errors.ts";',
      },
      {
        file: INCOMING,
        find: ".catch(() => null);",
        replace:
          ".catch(async () => { const { state, table } = this.#options; " +
          "const { partition } = state; const end = target.covered.sequence; " +
          "const move = { partition, from: owner, epoch, endSequence: end, bytes: 0 }; " +
          "await table.change((now) => finishMove(now, move)); return null; });",
      },
    ],
    expects: ["I11"],
  },
  {
    id: "opened-before-last-replay",
    defect: "a planned move opens without the owner's last entries",
    edits: [
      {
        file: INCOMING,
        find: "await this.#replay(target, [{ epoch, incarnation: owner, endSequence }]);\n    }",
        replace: "}",
      },
      {
        file: INCOMING,
        find: "    await this.#replay(target, now.lineage);\n    assertKnown(target, now.epoch);",
        replace: "    void now.lineage;",
      },
    ],
    expects: ["I5", "I7", "I17", "I8", "I20", "I1", "I4", "I22"],
  },
  {
    id: "opened-before-recovery",
    defect: "partitions are claimed and opened before they are recovered",
    edits: [
      {
        file: SUPERVISOR,
        find: "} = await this.#options.recover(tasks);",
        replace:
          "} = await Promise.all(tasks.map(({ state, epoch }) => this.#open(state, epoch)))" +
          ".then(() => this.#options.recover(tasks));",
      },
      {
        file: SUPERVISOR,
        find:
          "const opened = await Promise.allSettled(\n        tasks.map(({ state, epoch }) => " +
          "this.#open(state, epoch)),\n      );",
        replace: "const opened: PromiseSettledResult<void>[] = [];",
      },
    ],
    expects: ["I5", "I7", "I17", "I16", "I14", "I8", "I15", "I22"],
  },
  {
    id: "entry-time-not-carried",
    defect: "entry times start afresh at a new owner",
    edits: [
      { file: SUPERVISOR, find: "this.#options.commit.raiseTime(lastTimeMs);", replace: "" },
      {
        file: SUPERVISOR,
        find: "commit.raiseTime(end.lastTimeMs);",
        replace: "void commit;",
      },
    ],
    expects: ["I8"],
  },
  {
    id: "producer-sequence-unchecked",
    defect: "a sub-batch is admitted whatever its sequence",
    edits: [
      { file: ACTOR, find: REPEAT, replace: "" },
      {
        file: ACTOR,
        find: "if (pending !== undefined || producerSequence !== committed + 1) {",
        replace: "if (pending !== undefined) {",
      },
    ],
    expects: ["I17"],
  },
  {
    id: "repeat-off-by-one",
    defect: "the last committed sub-batch is not known as a repeat",
    edits: [{ file: ACTOR, find: REPEAT, replace: REPEAT.replace("<=", "<") }],
    expects: ["I20"],
  },
  {
    id: "pending-duplicate-acknowledged",
    defect: "a repeat of what is in flight is acknowledged at once",
    edits: [
      {
        file: ACTOR,
        find: "pending.repeats ??= [];\n      pending.repeats.push(batch);\n      return;",
        replace: "return batch.committed(this.#keysOfRepeat(batch));",
      },
    ],
    expects: ["I1", "I4", "I5", "I6", "I7", "I8", "I22"],
  },
  {
    id: "pending-keys-forgotten",
    defect: "a key in flight is not known",
    edits: [
      {
        file: ACTOR,
        find: "this.#pendingKeys.get(text) ?? this.#findKey(bytes, at)",
        replace: "this.#findKey(bytes, at)",
      },
    ],
    expects: ["I6", "I2", "I8"],
  },
  {
    id: "keys-not-applied",
    defect: "committed keys are not remembered",
    edits: [
      {
        file: STATE,
        find: "if (isKeyed(bytes, at)) this.#applyKey(bytes, at, timeMs);",
        replace: "if (isKeyed(bytes, at)) void this.#applyKey;",
      },
    ],
    expects: ["I6", "I2", "I8"],
  },
  {
    id: "key-pages-not-restored",
    defect: "the key window of a checkpoint is not restored",
    edits: [{ file: STATE, find: "this.window.decodeBucket(page.id, page.bytes);", replace: "" }],
    expects: ["I6", "I2", "I8"],
  },
  {
    id: "producers-not-restored",
    defect: "producers' sequences of a checkpoint are not restored",
    edits: [
      {
        file: STATE,
        find: "of image.producers) {\n      this.producers.set(producer, sequence);",
        replace: "of image.producers) {\n      void sequence;",
      },
    ],
    expects: ["I17", "I20"],
  },
  {
    id: "producers-not-replayed",
    defect: "producers' sequences of the log are not restored",
    edits: [
      {
        file: REPLAY,
        find: "state.applyProducer(events.producer, events.producerSequence, header.timeMs);",
        replace: "",
      },
    ],
    expects: ["I17", "I20"],
  },
  {
    id: "replay-ignores-epoch",
    defect: "replay takes the sections of other epochs in the same log",
    edits: [
      {
        file: REPLAY,
        find: "if (section.epoch !== stretch.epoch || header.sequence < one.from) return;",
        replace: "if (header.sequence < one.from) return;",
      },
    ],
    expects: ["I16", "I6", "I2", "I4", "I20", "I17", "I22"],
    // Needs a partition that came back to the same incarnation before the first stretch was covered.
    alsoTests: ["test/partition/replay.test.ts"],
  },
  {
    id: "replay-ignores-start",
    defect: "replay takes sections that the checkpoint covers",
    edits: [
      {
        file: REPLAY,
        find: "if (section.epoch !== stretch.epoch || header.sequence < one.from) return;",
        replace: "if (section.epoch !== stretch.epoch) return;",
      },
    ],
    expects: ["I16", "I7", "I6", "I2", "I4", "I22"],
    // Few seeds replay several partitions whose checkpoints differ.
    alsoTests: ["test/partition/replay.test.ts"],
  },
  {
    id: "replay-from-watermark",
    defect: "replay begins at the watermark instead of after it",
    edits: [
      { file: REPLAY, find: "target.covered.sequence + 1", replace: "target.covered.sequence" },
    ],
    expects: ["I16", "I6", "I2", "I4", "I22"],
  },
  {
    id: "replay-after-watermark",
    defect: "replay leaves out the entry after the watermark",
    edits: [
      { file: REPLAY, find: "target.covered.sequence + 1", replace: "target.covered.sequence + 2" },
    ],
    expects: ["I16", "I5", "I7", "I1", "I4", "I17", "I20", "I22"],
  },
  {
    id: "page-ahead-ignored",
    defect: "a page that is ahead of its manifest is replayed over",
    edits: [
      {
        file: STATE,
        find: "if (isAfter(page.position, watermark)) this.#pagesAhead.set(page.id, page.position);",
        replace: "",
      },
    ],
    expects: ["I14", "I16", "I6", "I2", "I4", "I22"],
  },
  {
    id: "page-ahead-off-by-one",
    defect: "the entry at a page's own position is applied to it again",
    edits: [
      {
        file: STATE,
        find: "return ahead !== undefined && !isAfter(this.position, ahead);",
        replace: "return ahead !== undefined && isAfter(ahead, this.position);",
      },
    ],
    expects: ["I14", "I16", "I6", "I2", "I4", "I22"],
  },
  {
    id: "rule-of-any-revision",
    defect: "rules pile up behind a stalled log, and come into force over later ones",
    edits: [
      { file: STATE, find: "if (change.revision <= this.ruleRevision) return;", replace: "" },
      {
        file: "src/router/local-answers.ts",
        find: 'for (const one of ended) if (one.status === "rejected") throw one.reason;',
        replace: "",
      },
      {
        file: "src/router/local-answers.ts",
        find: "const ended = await Promise.allSettled(",
        replace: "await Promise.all(",
      },
    ],
    expects: ["I22"],
    // Needs two rules that wait for one log, the older one behind the newer.
    alsoTests: ["test/partition/partition-state.test.ts"],
  },
  {
    id: "positions-without-epoch",
    defect: "positions are compared by sequence alone",
    edits: [
      {
        file: STATE,
        find: "return a.epoch > b.epoch || (a.epoch === b.epoch && a.sequence > b.sequence);",
        replace: "return a.sequence > b.sequence;",
      },
    ],
    expects: ["I14", "I16", "I6", "I2", "I4", "I5", "I7", "I1", "I22"],
  },
];
