/**
 * Every state that a power cut can leave the file log in: a script of appends is cut at each disk call, with every
 * subset of what was not synced; then a new life seals, reads, and writes on.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type DiskOperation, SimDisk } from "../../src/simulation/sim-disk.ts";
import { FileNodeLog } from "../../src/wal/file-node-log.ts";
import { openStoreIdentity } from "../../src/wal/store-identity.ts";
import { EntryChain, readAll } from "../conformance/node-log.ts";

const STORE = { storeId: 42, segmentBytes: 4096 };
const SIZES = [24, 900, 24, 1500, 24, 24, 700, 2200, 24, 300];
const SUBSETS_MAX = 1024;

interface Run {
  /** Entries acknowledged, and the bytes of those and of the one that was in flight. */
  readonly acknowledged: number;
  readonly entries: readonly Uint8Array[];
}

async function runScript(disk: SimDisk): Promise<Run> {
  const entries: Uint8Array[] = [];
  let acknowledged = 0;
  try {
    const log = await FileNodeLog.open(disk, STORE);
    await log.create(5);
    const chain = new EntryChain(5, STORE.storeId);
    for (const [i, size] of SIZES.entries()) {
      const entry = chain.next(size);
      entries.push(entry);
      const { kind } = await log.append(entry, i);
      if (kind !== "committed") break;
      acknowledged += 1;
      if (i === 6) await log.trim(5, 3);
    }
    await log.close();
  } catch (error) {
    assert.ok(disk.isCrashed, String(error));
  }
  return { acknowledged, entries };
}

/** All subsets when there are few choices, else a fixed sample with the two extremes. */
function* subsetsOf(choices: number): Generator<() => boolean> {
  const total = choices <= 10 ? 2 ** choices : SUBSETS_MAX;
  let state = choices;
  for (let subset = 0; subset < total; subset += 1) {
    let choice = 0;
    yield () => {
      if (choices <= 10) return ((subset >> choice++) & 1) === 1;
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return subset < 2 ? subset === 1 : state >>> 31 === 1;
    };
  }
}

async function checkRecovered(disk: SimDisk, run: Run): Promise<void> {
  const log = await FileNodeLog.open(disk, STORE);
  const end = await log.seal(5);
  const hasLog = (await log.list()).includes(5);
  if (run.acknowledged > 0) assert.ok(hasLog);
  assert.ok(end >= run.acknowledged, `${end} of ${run.acknowledged} acknowledged`);
  assert.ok(end <= run.entries.length);
  // The script trims up to its third entry once the seventh is acknowledged.
  const from = run.acknowledged > 6 ? 4 : 1;
  assert.deepEqual(await readAll(log, 5, from), run.entries.slice(from - 1, end));
  assert.equal(await log.seal(5), end);
  await log.create(6);
  const next = new EntryChain(6, STORE.storeId);
  assert.deepEqual(await log.append(next.next(100), 0), { kind: "committed" });
}

describe("FileNodeLog after a power cut", () => {
  it("has every acknowledged entry and no other but the one in flight (I1, I2)", async () => {
    const script = new SimDisk();
    assert.equal((await runScript(script)).acknowledged, SIZES.length);
    const kinds = new Set(script.operations.map((operation) => operation.kind));
    for (const kind of ["create", "writeSynced", "rename", "remove", "syncDirectory"] as const) {
      assert.ok(kinds.has(kind), kind);
    }
    let states = 0;
    for (let cut = 0; cut < script.operations.length; cut += 1) {
      const crash = ({ index }: DiskOperation): "crash" | null => (index === cut ? "crash" : null);
      const disk = new SimDisk({ faultAt: crash });
      const run = await runScript(disk);
      for (const keeps of subsetsOf(disk.unsyncedChoices)) {
        await checkRecovered(disk.afterPowerCut(keeps), run);
        states += 1;
      }
    }
    assert.ok(states > 100, `${states} states`);
  });

  it("recovers the same again when the power is cut during recovery itself", async () => {
    const script = new SimDisk();
    await runScript(script);
    const cutAt = script.operations.findLastIndex(({ kind }) => kind === "writeSynced");
    const crash = ({ index }: DiskOperation): "crash" | null => (index === cutAt ? "crash" : null);
    const disk = new SimDisk({ faultAt: crash });
    const run = await runScript(disk);
    for (const keeps of subsetsOf(disk.unsyncedChoices)) {
      const torn = disk.afterPowerCut(keeps);
      const whole = torn.afterPowerCut(() => false);
      const end = await (await FileNodeLog.open(whole, STORE)).seal(5);
      for (let second = 0; second < whole.operations.length; second += 1) {
        const faultAt = ({ index }: DiskOperation): "crash" | null =>
          index === second ? "crash" : null;
        const again = torn.afterPowerCut(() => false, { faultAt });
        await assert.rejects(FileNodeLog.open(again, STORE).then((log) => log.seal(5)));
        for (const keepsAgain of subsetsOf(again.unsyncedChoices)) {
          const last = again.afterPowerCut(keepsAgain);
          assert.equal(await (await FileNodeLog.open(last, STORE)).seal(5), end);
        }
      }
      await checkRecovered(torn, run);
    }
  });
});

describe("openStoreIdentity", () => {
  it("keeps its number over restarts and refuses a damaged file", async () => {
    const disk = new SimDisk();
    const first = await openStoreIdentity(disk, { uint32: () => 0xfeed });
    assert.equal(first.storeId, 0xfeed);
    const later = await openStoreIdentity(
      disk.afterPowerCut(() => false),
      { uint32: () => 1 },
    );
    assert.deepEqual(later, first);
    for (const text of ["", "{}", '{"format":1,"storeId":-1}', '{"format":2,"storeId":1}', "x"]) {
      disk.plant("store.json", new TextEncoder().encode(text));
      await assert.rejects(openStoreIdentity(disk, { uint32: () => 1 }), { code: "log_damaged" });
    }
  });
});
