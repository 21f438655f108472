import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import { NodeDisk } from "../../src/runtime/node-disk.ts";
import { SimDisk } from "../../src/simulation/sim-disk.ts";
import { listLogs, repairLog } from "../../src/wal/file-log-reader.ts";
import { FileNodeLog } from "../../src/wal/file-node-log.ts";
import type { AppendOutcome } from "../../src/wal/node-log.ts";
import { describeNodeLog, EntryChain, readAll } from "../conformance/node-log.ts";

const MIB = 1024 * 1024;
const STORE = { storeId: 0xabcdef01, segmentBytes: 8192 };
const FIRST_SEGMENT = "wal/0000000000000005/0000000000000001.wal";

describeNodeLog("files on a disk", async () => {
  const root = await mkdtemp(join(tmpdir(), "catchall-wal-"));
  return {
    open: () => FileNodeLog.open(new NodeDisk(root), STORE),
    dispose: () => rm(root, { recursive: true }),
  };
});

describeNodeLog("files on a simulated disk", async () => {
  const disk = new SimDisk();
  return { open: () => FileNodeLog.open(disk, STORE), dispose: async () => undefined };
});

async function filled(disk: SimDisk, count: number, options = STORE): Promise<FileNodeLog> {
  const log = await FileNodeLog.open(disk, options);
  await log.create(5);
  const chain = new EntryChain(5, options.storeId);
  for (let i = 0; i < count; i += 1) {
    assert.equal((await log.append(chain.next(600), i)).kind, "committed");
  }
  return log;
}

async function isDamaged(work: Promise<unknown>): Promise<CatchallError> {
  let caught: unknown;
  await work.catch((error: unknown) => {
    caught = error;
  });
  assert.ok(caught instanceof CatchallError);
  assert.equal(caught.code, "log_damaged");
  return caught;
}

describe("FileNodeLog", () => {
  it("refuses damage with file, offset and the repair command", async () => {
    const disk = new SimDisk();
    const log = await filled(disk, 20);
    disk.flipBit(FIRST_SEGMENT, (512 + 2 * 1024 + 600) * 8);
    const again = await FileNodeLog.open(disk, STORE);
    for (const error of [await isDamaged(again.seal(5)), await isDamaged(readAll(again, 5))]) {
      assert.match(error.message, /0000000000000001\.wal" is damaged at byte 3072/);
      assert.match(error.message, /catchall inspect wal --repair/);
    }
    await log.close();
  });

  it("refuses a log of another data directory and a missing segment", async () => {
    const disk = new SimDisk();
    await (await filled(disk, 30)).close();
    const other = { ...STORE, storeId: 1 };
    assert.match(
      (await isDamaged((await FileNodeLog.open(disk, other)).seal(5))).message,
      /another/,
    );
    const second = disk.paths().filter((path) => path.startsWith("wal/"))[1] as string;
    await disk.remove(second);
    const error = await isDamaged((await FileNodeLog.open(disk, STORE)).seal(5));
    assert.match(error.message, /are missing/);
  });

  it("repairs by keeping what lies before the damage, and keeps the rest aside", async () => {
    const disk = new SimDisk();
    await (await filled(disk, 30)).close();
    disk.flipBit(FIRST_SEGMENT, (512 + 2 * 1024 + 600) * 8);
    const files = (await listLogs(disk)).get(5);
    assert.ok(files);
    const plan = await repairLog(disk, STORE.storeId, files, true);
    assert.deepEqual([plan.lastSequence, plan.offset], [2, 3072]);
    await isDamaged((await FileNodeLog.open(disk, STORE)).seal(5));
    await repairLog(disk, STORE.storeId, files, false);
    const repaired = await FileNodeLog.open(disk, STORE);
    assert.equal(await repaired.seal(5), 2);
    assert.equal((await readAll(repaired, 5)).length, 2);
    assert.ok(disk.paths().some((path) => path.endsWith(".damaged")));
  });

  it("answers log_full at its limit, truly writes nothing, and goes on after a trim", async () => {
    const disk = new SimDisk();
    const log = await FileNodeLog.open(disk, { ...STORE, logBytesMax: 3 * 8192 });
    await log.create(5);
    const chain = new EntryChain(5, STORE.storeId);
    let entry = chain.next(600);
    while ((await log.append(entry, chain.sequence - 1)).kind === "committed") {
      entry = chain.next(600);
    }
    const outcome = await log.append(entry, chain.sequence - 1);
    assert.equal(outcome.kind, "notApplied");
    assert.ok(log.sizeBytes <= 3 * 8192);
    assert.equal((await readAll(log, 5)).length, chain.sequence - 1);
    await log.trim(5, 10);
    assert.deepEqual(await log.append(entry, chain.sequence - 1), { kind: "committed" });
  });

  it("begins the log of a new life where the others have left no room, and takes little into it", async () => {
    const disk = new SimDisk();
    const limit = { storeId: STORE.storeId, segmentBytes: 2 * MIB, logBytesMax: 4 * MIB };
    const before = await FileNodeLog.open(disk, limit);
    await before.create(5);
    const chain = new EntryChain(5, STORE.storeId);
    let outcome = await before.append(chain.next(400_000), 0);
    for (let n = 1; outcome.kind === "committed"; n++) {
      outcome = await before.append(chain.next(400_000), n);
    }
    assert.equal(outcome.kind, "notApplied");
    const log = await FileNodeLog.open(disk, limit);
    await log.seal(5);
    await log.create(6);
    const own = new EntryChain(6, STORE.storeId);
    assert.equal(log.sizeBytes <= 5 * MIB, true, `${log.sizeBytes} bytes`);
    assert.deepEqual(await log.append(own.next(500_000), 0), { kind: "committed" });
    assert.deepEqual(await log.append(own.next(500_000), 1), { kind: "committed" });
    const large = own.next(500_000);
    assert.equal(log.sizeBytes > 4 * MIB, true, `${log.sizeBytes} bytes`);
    assert.equal((await log.append(large, 2)).kind, "notApplied");
    await log.delete(5);
    assert.deepEqual(await log.append(large, 2), { kind: "committed" });
  });

  it("answers log_full when the disk is full, and goes on when there is room", async () => {
    let isFull = false;
    const faultAt = (): "full" | null => (isFull ? "full" : null);
    const disk = new SimDisk({ faultAt });
    const log = await FileNodeLog.open(disk, { ...STORE, segmentBytes: 2048 });
    await log.create(5);
    const chain = new EntryChain(5, STORE.storeId);
    const entry = chain.next(1600);
    isFull = true;
    assert.equal((await log.append(entry, 0)).kind, "notApplied");
    isFull = false;
    assert.deepEqual(await log.append(entry, 0), { kind: "committed" });
    assert.equal((await readAll(log, 5)).length, 1);
  });

  it("acknowledges nothing after a failed write, whichever call failed", async () => {
    const clean = new SimDisk();
    await filled(clean, 20);
    for (let failing = 0; failing < clean.operations.length; failing += 1) {
      const disk = new SimDisk({ faultAt: ({ index }) => (index === failing ? "io" : null) });
      const log = await FileNodeLog.open(disk, STORE).catch(() => null);
      if (log === null) continue;
      const isCreated = await log.create(5).then(
        () => true,
        () => false,
      );
      if (!isCreated) continue;
      const chain = new EntryChain(5, STORE.storeId);
      let hasFailed = false;
      for (let i = 0; i < 20; i += 1) {
        const entry = chain.next(600);
        const { kind } = await log.append(entry, i);
        assert.ok(hasFailed ? kind === "fenced" : kind === "committed" || kind === "unknown", kind);
        if (kind !== "unknown") continue;
        hasFailed = true;
        const repeated: AppendOutcome = await log.append(entry, i);
        assert.equal(repeated.kind, "fenced", "the same entry once more");
      }
    }
  });

  it("makes an entry durable before believing it, after its sync had failed", async () => {
    let failing = -1;
    const disk = new SimDisk({ faultAt: ({ index }) => (index === failing ? "io" : null) });
    const log = await filled(disk, 3);
    const chain = new EntryChain(5, STORE.storeId);
    for (let i = 0; i < 3; i += 1) chain.next(600);
    failing = disk.operations.length;
    assert.equal((await log.append(chain.next(600), 3)).kind, "unknown");
    const end = await (await FileNodeLog.open(disk, STORE)).seal(5);
    const after = await FileNodeLog.open(
      disk.afterPowerCut(() => false),
      STORE,
    );
    assert.equal(await after.seal(5), end);
  });

  it("removes segments that never got their name", async () => {
    const root = await mkdtemp(join(tmpdir(), "catchall-wal-"));
    const disk = new NodeDisk(root);
    const log = await FileNodeLog.open(disk, STORE);
    await log.create(5);
    await log.close();
    const stray = join(root, "wal/0000000000000005/next.tmp");
    await writeFile(stray, "x");
    await FileNodeLog.open(disk, STORE);
    await assert.rejects(readFile(stray));
    await rm(root, { recursive: true });
  });
});
