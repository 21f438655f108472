/**
 * The production wiring of an embedded node over a disk that fails as disks do: the short form of
 * `npm run simulate -- --embedded`; and disks and starts with a defect, which the same seeds must see.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import type { Disk, DiskFile } from "../../src/runtime/disk.ts";
import { startEmbeddedOn } from "../../src/server/embedded.ts";
import { recoverDisk } from "../../src/server/recover-directory.ts";
import { batchedDrain } from "../../src/simulation/batched-drain.ts";
import type {
  EmbeddedFaultFamily,
  EmbeddedPlanOptions,
} from "../../src/simulation/embedded-plan.ts";
import {
  type EmbeddedResult,
  type StartEmbedded,
  simulateEmbedded,
} from "../../src/simulation/embedded-simulator.ts";
import { listLogs, repairLog } from "../../src/wal/file-log-reader.ts";
import { openStoreIdentity } from "../../src/wal/store-identity.ts";

const SEEDS = 50;
const SEEDS_PER_DEFECT = 20;
const SHORT: EmbeddedPlanOptions = { faultsMs: 8_000, healMs: 60_000 };

function run(
  seed: number,
  start: StartEmbedded = startEmbeddedOn,
  families: readonly EmbeddedFaultFamily[] | null = null,
): Promise<EmbeddedResult> {
  const plan = families === null ? SHORT : { ...SHORT, families };
  const drain = batchedDrain(setImmediate);
  return simulateEmbedded(seed, { start, recover: recoverDisk, drain, plan });
}

function withFiles(disk: Disk, change: (path: string, file: DiskFile) => DiskFile): Disk {
  return {
    list: (directory) => disk.list(directory),
    read: (path) => disk.read(path),
    size: (path) => disk.size(path),
    exists: (path) => disk.exists(path),
    makeDirectory: (path) => disk.makeDirectory(path),
    create: async (path, sizeBytes) => change(path, await disk.create(path, sizeBytes)),
    open: async (path) => change(path, await disk.open(path)),
    rename: (from, to) => disk.rename(from, to),
    remove: (path) => disk.remove(path),
    syncDirectory: (path) => disk.syncDirectory(path),
  };
}

/** Says that the log is synced, and has only written it. */
const unsyncedLog: StartEmbedded = (ports, options) => {
  const disk = withFiles(ports.disk, (path, file) =>
    path.startsWith("wal/") ? { ...file, writeSynced: file.write } : file,
  );
  return startEmbeddedOn({ ...ports, disk }, options);
};

/** Names a checkpoint before its bytes are synced. */
const unsyncedCheckpoint: StartEmbedded = (ports, options) => {
  const disk = withFiles(ports.disk, (path, file) =>
    path.startsWith("checkpoints/") ? { ...file, sync: async () => undefined } : file,
  );
  return startEmbeddedOn({ ...ports, disk }, options);
};

/** Never syncs a directory. */
const unsyncedNames: StartEmbedded = (ports, options) => {
  const disk = {
    ...withFiles(ports.disk, (_, file) => file),
    syncDirectory: async () => undefined,
  };
  return startEmbeddedOn({ ...ports, disk }, options);
};

/** Goes on after a write of the log that failed. */
const errorsPassedOver: StartEmbedded = (ports, options) => {
  const disk = withFiles(ports.disk, (path, file) => {
    if (!path.startsWith("wal/")) return file;
    const writeSynced: DiskFile["writeSynced"] = (position, bytes) =>
      file.writeSynced(position, bytes).catch(() => undefined);
    return { ...file, writeSynced };
  });
  return startEmbeddedOn({ ...ports, disk }, options);
};

/** Takes damage for a torn end: cuts the log there, and starts. */
const damageCut: StartEmbedded = async (ports, options) => {
  try {
    return await startEmbeddedOn(ports, options);
  } catch (error) {
    if (!(error instanceof CatchallError) || error.code !== "log_damaged") throw error;
    const { storeId } = await openStoreIdentity(ports.disk, ports.random);
    for (const files of (await listLogs(ports.disk)).values()) {
      await repairLog(ports.disk, storeId, files, false);
    }
    return await startEmbeddedOn(ports, options);
  }
};

describe("a simulated embedded node", () => {
  const { stackTraceLimit } = Error;
  // Stacks cost more than the simulation.
  before(() => {
    Error.stackTraceLimit = 0;
  });
  after(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });

  it(`breaks no promise in ${SEEDS} seeds with every family of faults`, async (t) => {
    const sums = new Map<string, number>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { failures, statistics } = await run(seed);
      const again = `npm run simulate -- --embedded --seed ${seed} --seeds 1`;
      assert.deepEqual(failures, [], `${again} --minutes ${SHORT.faultsMs / 60_000}`);
      for (const [name, value] of Object.entries(statistics)) {
        sums.set(name, (sums.get(name) ?? 0) + value);
      }
    }
    const sum = (name: string): number => sums.get(name) ?? 0;
    t.diagnostic(JSON.stringify(Object.fromEntries(sums)));
    assert.equal(sum("acknowledged") > 5000, true, `${sum("acknowledged")} acknowledged`);
    assert.equal(sum("starts") > 200, true, `${sum("starts")} starts`);
    assert.equal(sum("diskErrors") > 20, true, `${sum("diskErrors")} errors of the disk`);
    assert.equal(sum("fault rot") > 10, true, `${sum("fault rot")} flipped bits`);
  });

  it("does the same again for the same seed, and something else for another", async () => {
    const [first, again, other] = [await run(7), await run(7), await run(8)];
    assert.equal(again.traceHash, first.traceHash);
    assert.deepEqual(again.statistics, first.statistics);
    assert.notEqual(other.traceHash, first.traceHash);
  });

  const defects: readonly (readonly [string, StartEmbedded, readonly EmbeddedFaultFamily[]])[] = [
    ["a log that says synced and is not", unsyncedLog, ["powerCut", "powerAmbush"]],
    ["a checkpoint that is named before it is synced", unsyncedCheckpoint, ["powerCut"]],
    ["directories that are never synced", unsyncedNames, ["powerCut"]],
    ["writes of the log whose failure is passed over", errorsPassedOver, ["writeError"]],
    ["damage that is taken for a torn end", damageCut, ["rot"]],
  ];
  for (const [name, start, families] of defects) {
    it(`sees ${name}`, async (t) => {
      for (let seed = 1; seed <= SEEDS_PER_DEFECT; seed++) {
        const { failures } = await run(seed, start, families);
        if (failures.length === 0) continue;
        t.diagnostic(`seed ${seed}: ${failures[0]?.rule} ${failures[0]?.text}`);
        return;
      }
      assert.fail(`${SEEDS_PER_DEFECT} seeds did not notice`);
    });
  }
});
