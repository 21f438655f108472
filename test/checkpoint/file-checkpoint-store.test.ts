import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { ManifestSet } from "../../src/checkpoint/checkpoint-store.ts";
import { FileCheckpointStore } from "../../src/checkpoint/file-checkpoint-store.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { NodeDisk } from "../../src/runtime/node-disk.ts";
import { SimDisk } from "../../src/simulation/sim-disk.ts";
import {
  contentOf,
  contentOfPages,
  describeCheckpointStore,
  pageOf,
  save,
  setOf,
} from "../conformance/checkpoint-store.ts";

const STORE = { storeId: 77 };

describeCheckpointStore("files on a disk", async () => {
  const root = await mkdtemp(join(tmpdir(), "catchall-checkpoint-"));
  return {
    open: () => FileCheckpointStore.open(new NodeDisk(root), STORE),
    dispose: () => rm(root, { recursive: true }),
  };
});

describeCheckpointStore("files on a simulated disk", async () => {
  const disk = new SimDisk();
  return { open: () => FileCheckpointStore.open(disk, STORE), dispose: async () => undefined };
});

type Outcome = { set: ManifestSet | null; content: ReadonlyMap<string, string> } | "refused";

async function readBack(disk: SimDisk): Promise<Outcome> {
  try {
    const store = await FileCheckpointStore.open(disk, STORE);
    const set = await store.readManifests(null);
    return { set, content: await contentOf(store) };
  } catch (error) {
    assert.ok(error instanceof CatchallError, String(error));
    assert.equal(error.code, "checkpoint_damaged");
    assert.match(error.message, /Checkpoint "checkpoints\/.*" is damaged at byte \d+/);
    return "refused";
  }
}

function generationsOf(disk: SimDisk): readonly string[] {
  const names = disk.paths().filter((path) => path.endsWith(".ckpt"));
  return names.map((path) => path.replace(/^checkpoints\/0*(\d+)-(.).*$/, "$1$2"));
}

/** Checkpoints 1 (full) and the deltas 2 and 3, and what may be read after each. */
async function threeGenerations(disk: SimDisk): Promise<Exclude<Outcome, "refused">[]> {
  const store = await FileCheckpointStore.open(disk, STORE);
  const pages = [pageOf(0, 1, 1, 40), pageOf(1, 2, 1, 30)];
  const states: Exclude<Outcome, "refused">[] = [];
  await save(store, true, pages, setOf(1));
  states.push({ set: setOf(1), content: contentOfPages(pages) });
  await save(store, false, [pageOf(1, 2, 2, 20)], setOf(2));
  const second = [pages[0] as (typeof pages)[0], pageOf(1, 2, 2, 20)];
  states.push({ set: setOf(2), content: contentOfPages(second) });
  await save(store, false, [pageOf(0, 9, 3, 20)], setOf(3));
  const third = [...second, pageOf(0, 9, 3, 20)];
  states.push({ set: setOf(3), content: contentOfPages(third) });
  return states;
}

function canonical(outcome: Outcome): string {
  if (outcome === "refused") return outcome;
  return JSON.stringify([outcome.set, [...outcome.content].sort()]);
}

describe("FileCheckpointStore", () => {
  it("never reads wrong content: every byte of every file flipped or cut off", async () => {
    const disk = new SimDisk();
    const states = await threeGenerations(disk);
    const files = disk.paths().filter((path) => path.endsWith(".ckpt"));
    assert.equal(files.length, 3);
    let cases = 0;
    let bytesTotal = 0;
    for (const [i, path] of files.entries()) {
      const whole = await disk.read(path);
      bytesTotal += whole.length;
      // The newest file may fall back to the one before; damage in any other must be refused.
      const before: string =
        i === files.length - 1 ? canonical(states[i - 1] as Outcome) : "refused";
      for (let at = 0; at < whole.length; at += 1) {
        for (let bit = 0; bit < 8; bit += 1) {
          disk.flipBit(path, at * 8 + bit);
          assert.equal(canonical(await readBack(disk)), before, `${path} byte ${at} bit ${bit}`);
          disk.flipBit(path, at * 8 + bit);
        }
        disk.plant(path, whole.subarray(0, at));
        assert.equal(canonical(await readBack(disk)), before, `${path} cut at ${at}`);
        disk.plant(path, whole);
        cases += 9;
      }
      disk.plant(path, Uint8Array.from([...whole, 0]));
      assert.equal(canonical(await readBack(disk)), before, `${path} with a byte more`);
      disk.plant(path, whole);
    }
    assert.equal(canonical(await readBack(disk)), canonical(states[2] as Outcome));
    assert.equal(cases, 9 * bytesTotal);
  });

  it("refuses files that are swapped, missing or of another directory", async () => {
    const disk = new SimDisk();
    await threeGenerations(disk);
    const files = disk.paths().filter((path) => path.endsWith(".ckpt"));
    const [full, second, third] = await Promise.all(files.map((path) => disk.read(path)));
    disk.plant(files[1] as string, third as Uint8Array);
    assert.equal(await readBack(disk), "refused");
    disk.plant(files[1] as string, second as Uint8Array);
    await disk.remove(files[0] as string);
    assert.equal(await readBack(disk), "refused");
    const foreign = new SimDisk();
    const other = await FileCheckpointStore.open(foreign, { storeId: 1 });
    await save(other, true, [pageOf(0, 1, 1)], setOf(1));
    assert.equal(await readBack(foreign), "refused");
    // A full file of the same generation with other content.
    const twin = new SimDisk();
    const twinStore = await FileCheckpointStore.open(twin, STORE);
    await save(twinStore, true, [pageOf(0, 1, 1, 41)], setOf(1));
    assert.notDeepEqual(await twin.read(files[0] as string), full);
    disk.plant(files[0] as string, await twin.read(files[0] as string));
    assert.equal(await readBack(disk), "refused");
  });

  it("writes a full checkpoint after a fall-back, over the damaged one", async () => {
    const disk = new SimDisk();
    await threeGenerations(disk);
    const newest = disk.paths().findLast((path) => path.endsWith(".ckpt")) as string;
    disk.flipBit(newest, 500);
    const store = await FileCheckpointStore.open(disk, STORE);
    assert.deepEqual(await store.readManifests(null), setOf(2));
    assert.equal(store.wantsFull, true);
    await save(store, true, [pageOf(0, 1, 8)], setOf(8));
    await save(store, false, [pageOf(0, 1, 9)], setOf(9));
    const want = { set: setOf(9), content: contentOfPages([pageOf(0, 1, 9)]) };
    assert.equal(canonical(await readBack(disk)), canonical(want));
  });

  it("does not count a damaged file as one of the two generations", async () => {
    const disk = new SimDisk();
    await threeGenerations(disk);
    const first = await FileCheckpointStore.open(disk, STORE);
    await first.readManifests(null);
    await save(first, true, [pageOf(0, 1, 4)], setOf(4));
    disk.flipBit("checkpoints/0000000000000004-full.ckpt", 500);
    const messages: string[] = [];
    const log = (_fields: object, message: string) => messages.push(message);
    const logger = { ...SILENT_LOGGER, warn: log, error: log };
    const store = await FileCheckpointStore.open(disk, { ...STORE, logger });
    assert.deepEqual(await store.readManifests(null), setOf(3));
    assert.deepEqual(generationsOf(disk), ["1f", "2d", "3d", "4f"], "reading changes nothing");
    await save(store, true, [pageOf(0, 1, 5)], setOf(5));
    assert.deepEqual(generationsOf(disk), ["1f", "2d", "3d", "5f"]);
    assert.ok(disk.paths().includes("checkpoints/0000000000000004-full.ckpt.damaged"));
    assert.deepEqual(messages, [
      "Checkpoint is damaged; the one before is used",
      "Damaged checkpoint was set aside; it may be deleted",
    ]);
    // Were the damaged one still counted, nothing whole would be left now.
    disk.flipBit("checkpoints/0000000000000005-full.ckpt", 500);
    assert.deepEqual(((await readBack(disk)) as { set: ManifestSet }).set, setOf(3));
  });

  it("never gives the number of a damaged file to another one", async () => {
    const disk = new SimDisk();
    await threeGenerations(disk);
    for (const sequence of [4, 5, 6]) {
      const newest = disk.paths().findLast((path) => path.endsWith(".ckpt")) as string;
      disk.flipBit(newest, 500);
      const store = await FileCheckpointStore.open(disk, STORE);
      await store.readManifests(null);
      const writer = await store.begin(true);
      await writer.abandon();
      await store.close();
      const next = await FileCheckpointStore.open(disk, STORE);
      await next.readManifests(null);
      await save(next, true, [pageOf(0, 1, sequence)], setOf(sequence));
      assert.ok(disk.paths().includes(`${newest}.damaged`));
      assert.ok(!disk.paths().includes(newest));
    }
    assert.equal(disk.paths().filter((path) => path.endsWith(".damaged")).length, 3);
  });

  it("reads pages of any size: within, across and over the chunks that it reads", async () => {
    const disk = new SimDisk();
    const store = await FileCheckpointStore.open(disk, STORE);
    const sizes = [1, 900_000, 200_000, 50_000, 1_100_000, 0, 3_000_000, 70_000, 65_000, 1_048_576];
    const pages = sizes.map((size, i) => pageOf(i % 2, i, i + 1, size));
    await save(store, true, pages, setOf(1));
    const again = await FileCheckpointStore.open(disk, STORE);
    assert.deepEqual(await again.readManifests(null), setOf(1));
    assert.deepEqual(await contentOf(again), contentOfPages(pages));
  });

  it("removes a chain only with the checkpoint after the next full one", async () => {
    const disk = new SimDisk();
    await threeGenerations(disk);
    const store = await FileCheckpointStore.open(disk, STORE);
    await store.readManifests(null);
    await save(store, true, [pageOf(0, 1, 4)], setOf(4));
    assert.deepEqual(generationsOf(disk), ["1f", "2d", "3d", "4f"]);
    disk.flipBit("checkpoints/0000000000000004-full.ckpt", 500);
    assert.deepEqual(((await readBack(disk)) as { set: ManifestSet }).set, setOf(3));
    disk.flipBit("checkpoints/0000000000000004-full.ckpt", 500);
    await save(store, false, [pageOf(0, 1, 5)], setOf(5));
    assert.deepEqual(generationsOf(disk), ["4f", "5d"]);
  });

  it("wants a full checkpoint when deltas are many or bigger than it", async () => {
    const store = await FileCheckpointStore.open(new SimDisk(), STORE);
    await save(store, true, [pageOf(0, 1, 1, 100_000)], setOf(1));
    for (let i = 0; i < 17; i += 1) {
      assert.equal(store.wantsFull, false, `after ${i} deltas`);
      await save(store, false, [pageOf(0, 1, i + 2)], setOf(i + 2));
    }
    assert.equal(store.wantsFull, true);
    await save(store, true, [pageOf(0, 1, 50, 2000)], setOf(50));
    assert.equal(store.wantsFull, false);
    await save(store, false, [pageOf(0, 1, 51, 4000)], setOf(51));
    assert.equal(store.wantsFull, true);
  });

  it("reads the checkpoint before or after, whatever a power cut keeps (I14)", async () => {
    const script = new SimDisk();
    await threeGenerations(script);
    let states = 0;
    for (let cut = 0; cut < script.operations.length; cut += 1) {
      const disk = new SimDisk({ faultAt: ({ index }) => (index === cut ? "crash" : null) });
      let confirmed = 0;
      const store = await FileCheckpointStore.open(disk, STORE).catch(() => null);
      for (const sequence of [1, 2, 3]) {
        const saved =
          store && save(store, sequence === 1, [pageOf(0, 1, sequence)], setOf(sequence));
        if (
          saved !== null &&
          (await saved.then(
            () => true,
            () => false,
          ))
        )
          confirmed = sequence;
      }
      const choices = disk.unsyncedChoices;
      assert.ok(choices <= 10, `${choices} choices`);
      for (let subset = 0; subset < 2 ** choices; subset += 1) {
        let choice = 0;
        const after = disk.afterPowerCut(() => ((subset >> choice++) & 1) === 1);
        const outcome = await readBack(after);
        assert.notEqual(outcome, "refused");
        const { set, content } = outcome as Exclude<Outcome, "refused">;
        const sequence = set === null ? 0 : set.timeMs - 1_700_000_000_000;
        assert.ok(sequence === confirmed || sequence === confirmed + 1);
        const want = sequence === 0 ? [] : [pageOf(0, 1, sequence)];
        assert.deepEqual(content, contentOfPages(want));
        states += 1;
      }
    }
    assert.ok(states > 50, `${states} states`);
  });

  it("keeps the checkpoint before when any disk call of the next one fails", async () => {
    const script = new SimDisk();
    await threeGenerations(script);
    for (let failing = 0; failing < script.operations.length; failing += 1) {
      const disk = new SimDisk({ faultAt: ({ index }) => (index === failing ? "io" : null) });
      const store = await FileCheckpointStore.open(disk, STORE).catch(() => null);
      if (store === null) continue;
      let confirmed = 0;
      for (const sequence of [1, 2, 3]) {
        const writer = await store.begin(store.wantsFull).catch(() => null);
        try {
          await writer?.putPages([pageOf(0, 1, sequence)]);
          if (writer !== null) await writer.commit(setOf(sequence));
          if (writer !== null) confirmed = sequence;
        } catch {
          await writer?.abandon().catch(() => undefined);
        }
      }
      assert.ok(confirmed >= 2);
      const outcome = await readBack(disk.afterPowerCut(() => false));
      const want = { set: setOf(confirmed), content: contentOfPages([pageOf(0, 1, confirmed)]) };
      assert.equal(canonical(outcome), canonical(want), `failing call ${failing}`);
    }
  });
});
