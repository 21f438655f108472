/** Defects of group commit, forwarding, checkpoints and trimming. */
import type { Mutant } from "./mutant.ts";

const GROUP = "src/commit/group-commit.ts";
const CERTAIN = "src/commit/append-until-known.ts";
const ACTOR = "src/partition/partition-actor.ts";
const FORWARDER = "src/router/sub-batch-forwarder.ts";
const CHECKPOINTER = "src/checkpoint/checkpointer.ts";
const CHANGES_FIRST = "src/checkpoint/changes-first-store.ts";
const FLOORS = "src/server/log-floors.ts";
const CHECKPOINTS = "src/simulation/sim-checkpoint-store.ts";
const APPEND_TESTS = ["test/commit/append-until-known.test.ts"] as const;
const CHECKPOINTER_TESTS = ["test/checkpoint/checkpointer.test.ts"] as const;
/** The lease is asked again before anything is acknowledged, and hides what only a fenced node does. */
const LEASE_NOT_ASKED = {
  file: ACTOR,
  find: "const lost = this.#refusal();\n    const tell",
  replace: "const lost = null as CatchallError | null;\n    const tell",
};
const APPLY = "this.state.applyEvents(records.bytes, 0, records.count, entry.timeMs);";

export const WRITE_PATH_MUTANTS: readonly Mutant[] = [
  {
    id: "acknowledged-before-append",
    defect: "an entry is applied and acknowledged before the log has it",
    edits: [
      {
        file: GROUP,
        find: "void this.#append(bytes, usesReserve).then((outcome) => {",
        replace:
          "for (const section of sections) section.committed(entry);\n" +
          "    void this.#append(bytes, usesReserve).then((outcome) => {",
      },
      {
        file: GROUP,
        find: "this.#finish({ outcome, sections, entry,",
        replace: "this.#finish({ outcome, sections: [], entry,",
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I11", "I14", "I22"],
  },
  {
    id: "applied-before-commit",
    defect: "counters are changed, and shown, before the log has the entry",
    edits: [
      { file: ACTOR, find: APPLY, replace: "" },
      {
        file: ACTOR,
        find: "const records = this.#records;\n    writeSectionHeader",
        replace:
          "const records = this.#records;\n    this.#actor.state.applyEvents(" +
          "records.bytes, 0, records.count, 1_800_000_000_000);\n    writeSectionHeader",
      },
    ],
    expects: ["I7", "I6", "I14", "I16", "I4", "I2", "I22"],
  },
  {
    id: "unknown-append-not-applied",
    defect: "an append of unknown outcome counts as not applied",
    edits: [
      {
        file: CERTAIN,
        find: "if (!append.log.canResend || append.isStopped()) return outcome;",
        replace: 'return { kind: "notApplied", code: "log_full", reason: "no answer" };',
      },
    ],
    expects: ["I2", "I6", "I17", "assertion"],
  },
  {
    id: "unknown-append-taken-for-commit",
    defect: "an append without an answer counts as committed",
    edits: [
      {
        file: CERTAIN,
        find: "if (!append.log.canResend || append.isStopped()) return outcome;",
        replace: 'return { kind: "committed" };',
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I10", "I11", "I14", "I15", "I16", "I22"],
  },
  {
    id: "append-resent-at-the-end",
    defect:
      "an append of unknown outcome is sent again with whatever the log's last sequence is by now",
    edits: [
      {
        file: CERTAIN,
        find: "for (;;) {\n    const { log, bytes, expectedLast, usesReserve } = append;",
        replace:
          "for (let tries = 0; ; tries++) {\n" +
          "    const seen = tries === 0 ? 0 : await append.log.lastSequence(append.incarnation).catch(() => 0);\n" +
          "    const { log, bytes, usesReserve } = append;\n" +
          "    const expectedLast = Math.max(seen, append.expectedLast);",
      },
    ],
    expects: ["I2", "I6", "I10", "I17"],
  },
  {
    id: "conflict-taken-for-commit",
    defect: "a refused append counts as committed without a look at the log, nor at the lease",
    edits: [
      {
        file: CERTAIN,
        find: "const found = await whatIsThere(append);",
        replace: 'void whatIsThere;\n      const found = { kind: "committed" } as const;',
      },
      LEASE_NOT_ASKED,
    ],
    expects: ["I1", "I4", "I5", "I7", "I10", "I11", "I14", "I15", "I16", "I22"],
  },
  {
    id: "conflict-taken-for-fence",
    defect: "a refused append counts as fenced without a look at the log",
    edits: [
      {
        file: CERTAIN,
        find: "const found = await whatIsThere(append);",
        replace:
          'void whatIsThere;\n      const found = { kind: "fenced", reason: "refused" } as const;',
      },
    ],
    expects: ["I2", "I6"],
  },
  {
    id: "nonce-unchecked",
    defect: "whatever lies at the sequence is taken for the own entry, whatever the lease says",
    edits: [
      {
        file: CERTAIN,
        find: "return found.nonce === own.nonce && found.kind === own.kind",
        replace: "return found.sequence > 0 && own.sequence > 0",
      },
      LEASE_NOT_ASKED,
    ],
    expects: ["I1", "I4", "I5", "I7", "I10", "I11", "I14", "I22"],
    // Needs an owner that is frozen while it appends, is declared dead, and hears of it later than of the refusal.
    alsoTests: APPEND_TESTS,
  },
  {
    id: "committed-told-as-refused",
    defect: "an owner whose lease ended tells of what is in the log that nothing was done",
    edits: [
      {
        file: ACTOR,
        find: 'else one.failed(new CatchallError("outcome_unknown", lost.message));',
        replace: "else one.failed(lost);",
      },
    ],
    expects: ["I2", "I6"],
  },
  {
    id: "log-expectation-ignored",
    defect: "the log takes an append whatever last sequence it expects",
    edits: [
      {
        file: "src/simulation/sim-node-logs.ts",
        find: "if (log.entries.length !== expectedLast) {",
        replace: "if (log.entries.length < expectedLast) {",
      },
    ],
    expects: ["I10"],
  },
  {
    id: "not-owner-taken-for-commit",
    defect: "the forwarder takes NOT_OWNER for committed",
    edits: [
      {
        file: FORWARDER,
        find: "const told = checked(flight.batch as ForwardBatch, outcome);",
        replace:
          'const isRefused = outcome.kind === "error" && outcome.error.code === "not_owner";\n' +
          '    const taken: SubBatchOutcome = isRefused ? { kind: "committed", keys: null } : outcome;\n' +
          "    const told = checked(flight.batch as ForwardBatch, taken);",
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I20", "I22"],
  },
  {
    id: "new-sequence-for-new-owner",
    defect: "a sub-batch is sent to a new owner under a new sequence",
    edits: [
      {
        file: FORWARDER,
        find: "if (flight.target !== owner) flight.tries = 0;",
        replace:
          "if (flight.target !== owner && flight.target !== NOBODY && flight.batch !== null) {\n" +
          "      (flight.batch as unknown as { producerSequence: number }).producerSequence++;\n    }",
      },
    ],
    expects: ["I1", "I2", "I4", "I5", "I6", "I7", "I17", "I20", "I22"],
  },
  {
    id: "unanswered-frame-given-up",
    defect: "a frame without an answer counts as not applied",
    edits: [
      {
        file: FORWARDER,
        find: 'if (told.error.effect === "unknown") flight.isUncertain = true;',
        replace: "",
      },
    ],
    expects: ["I1", "I2", "I4", "I5", "I6", "I7", "I17", "I22"],
  },
  {
    id: "frames-handled-twice",
    defect: "a frame that the network delivers twice is handled twice (ADR 13)",
    edits: [
      {
        file: "src/router/peer-handler.ts",
        find: "if (header.number !== 0 && !this.#windowOf(header.sender).take(header.number)) {",
        replace: "if (!this.#windowOf(header.sender).take(header.number) && header.number < 0) {",
      },
    ],
    expects: ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I17", "I22"],
  },
  {
    id: "manifest-before-pages",
    defect: "the manifest is written while its pages are still on their way",
    edits: [
      {
        file: CHECKPOINTER,
        find: "await this.#writePartition(writer, source, isFull);",
        replace: "void this.#writePartition(writer, source, isFull).catch(() => undefined);",
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I14", "I16", "I17", "I20", "I22"],
  },
  {
    id: "watermark-after-pages",
    defect: "the manifest covers entries that came while its pages were written",
    edits: [
      {
        file: CHECKPOINTER,
        find: "manifests.push({ partition, watermark, keyBuckets,",
        replace:
          "const late = { ...watermark, sequence: this.#options.appliedSequence() };\n" +
          "        manifests.push({ partition, watermark: late, keyBuckets,",
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I14", "I16", "I17", "I20", "I22"],
  },
  {
    id: "manifest-unconfirmed",
    defect: "a manifest counts as durable although the store did not confirm it",
    edits: [
      {
        file: CHECKPOINTER,
        find: "const bytes = await writer.commit({ ...this.#options.identity, timeMs, manifests });",
        replace:
          "const set = { ...this.#options.identity, timeMs, manifests };\n" +
          "      const bytes = await writer.commit(set).catch(() => 0);",
      },
    ],
    expects: ["I15", "I16", "I22"],
  },
  {
    id: "dirty-marks-lost",
    defect: "after a failed checkpoint the next one writes only what changed since",
    edits: [
      {
        file: CHECKPOINTER,
        find: "this.#mustBeFull = true;",
        replace: "this.#mustBeFull = false;",
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I14", "I16", "I17", "I20", "I22"],
  },
  {
    id: "meta-after-pages",
    defect: "overrides and rule are written after the pages that they are replayed over (F5)",
    edits: [
      {
        file: CHECKPOINTER,
        find: "if (isFull || source.isMetaDirty()) metas.push(encodeMeta(source));\n        await this.#writePartition(writer, source, isFull);",
        replace:
          "await this.#writePartition(writer, source, isFull);\n" +
          "        if (isFull || source.isMetaDirty()) metas.push(encodeMeta(source));",
      },
    ],
    expects: ["I16", "I22"],
    // Needs an event on a page that is written, then a change of its status, and a death behind the last page.
    alsoTests: CHECKPOINTER_TESTS,
  },
  {
    id: "meta-stored-first",
    defect: "overrides and rule are stored before the pages that they go with (F21)",
    edits: [
      {
        file: CHECKPOINTER,
        find: "metas.push(encodeMeta(source));",
        replace: "await writer.putPages([encodeMeta(source)]);",
      },
    ],
    expects: ["I16", "I22"],
    // Needs a change of rule since the last checkpoint, and a death between it and the pages that it changed.
    alsoTests: CHECKPOINTER_TESTS,
  },
  {
    id: "meta-dirty-ignored",
    defect: "overrides, rule and producers are written with full checkpoints only",
    edits: [
      { file: CHECKPOINTER, find: "if (isFull || source.isMetaDirty())", replace: "if (isFull)" },
    ],
    expects: ["I16", "I17", "I20", "I22"],
  },
  {
    id: "checkpoint-before-changes",
    defect: "a checkpoint does not wait for the status changes that it covers to be stored",
    edits: [
      {
        file: CHANGES_FIRST,
        find: "await this.#changes.flushed();\n        await writer.putPages(pages);",
        replace: "await writer.putPages(pages);",
      },
      {
        file: CHANGES_FIRST,
        find: "await this.#changes.flushed();\n        return writer.commit(set);",
        replace: "return writer.commit(set);",
      },
    ],
    expects: ["I22"],
  },
  {
    id: "changes-dropped-on-failure",
    defect: "status changes that could not be stored are not stored again",
    edits: [
      {
        file: "src/notifications/change-outbox.ts",
        find: "if (!this.#isClosed) this.#retryLater(error);",
        replace: "if (!this.#isClosed) this.#advance(changes.length);",
      },
    ],
    expects: ["I22"],
  },
  {
    id: "page-encoded-unswept",
    defect: "a page is written with statuses of before the rule that the checkpoint covers",
    edits: [
      {
        file: "src/server/checkpoint-source.ts",
        find: "state.settlePage(id);",
        replace: "",
      },
    ],
    expects: ["I14", "I16", "I22"],
  },
  {
    id: "page-put-unconditional",
    defect: "the checkpoint store puts an older page over a newer one",
    edits: [
      {
        file: CHECKPOINTS,
        find: "if (old !== undefined && isNewer(old.position, page.position)) return;",
        replace: "void old;",
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I14", "I16", "I17", "I20", "I22"],
  },
  {
    id: "page-put-without-epoch",
    defect: "the checkpoint store compares sequences of different owners",
    edits: [
      {
        file: CHECKPOINTS,
        find: "return a.epoch > b.epoch || (a.epoch === b.epoch && a.sequence > b.sequence);",
        replace: "return a.sequence > b.sequence;",
      },
    ],
    expects: ["I1", "I4", "I5", "I7", "I14", "I15", "I16", "I17", "I20", "I22"],
  },
  {
    id: "manifest-put-unconditional",
    defect: "the checkpoint store puts an older manifest over a newer one",
    edits: [
      {
        file: CHECKPOINTS,
        find: "if (old !== undefined && isNewer(old.watermark, manifest.watermark)) return;",
        replace: "void old;",
      },
    ],
    expects: ["I15"],
  },
  {
    id: "trim-past-own-watermark",
    defect: "the log is trimmed whatever the partitions that are owned still need",
    edits: [
      {
        file: FLOORS,
        find: "limit = Math.min(limit, epochs?.get(epoch) ?? limit);",
        replace: "",
      },
    ],
    expects: ["I15"],
  },
  {
    id: "trim-past-given-stretches",
    defect: "the log is trimmed whatever partitions that moved away still need",
    edits: [
      {
        file: FLOORS,
        find: "limit = Math.min(limit, epochs?.get(stretch.epoch) ?? 0);",
        replace: "",
      },
    ],
    expects: ["I15"],
  },
  {
    id: "trim-one-too-far",
    defect: "the log is trimmed one entry past the watermark",
    edits: [
      {
        file: FLOORS,
        find: "if (limit > 1) await log.trim(self, limit - 1);",
        replace: "if (limit > 1) await log.trim(self, limit + 1);",
      },
    ],
    expects: ["I15"],
  },
  {
    id: "page-position-early",
    defect: "a page says that it is one entry older than what is in it",
    edits: [
      {
        file: "src/checkpoint/checkpointer.ts",
        find: "position: source.position, bytes: image });",
        replace:
          "position: { ...source.position, sequence: source.position.sequence - 1 }, bytes: image });",
      },
    ],
    expects: ["I14"],
  },
  {
    id: "page-without-last-seen",
    defect: "a page of counters forgets when a domain was last seen",
    edits: [
      {
        file: "src/counters/page-codec.ts",
        find: "this.#varint(records.lastSeenMs(entry) - firstMs);",
        replace: "this.#varint(0);",
      },
    ],
    expects: ["I14"],
  },
];
