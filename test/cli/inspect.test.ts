/** `inspect` on data directories made by the real log and checkpoint store. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { FileCheckpointStore } from "../../src/checkpoint/file-checkpoint-store.ts";
import { NodeDisk } from "../../src/runtime/node-disk.ts";
import {
  chainSeed,
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_DATA,
  sealEnvelope,
} from "../../src/wal/entry-codec.ts";
import { FileNodeLog } from "../../src/wal/file-node-log.ts";
import { openStoreIdentity } from "../../src/wal/store-identity.ts";
import { cli } from "../support/cli-run.ts";
import { snapshot } from "../support/directory-snapshot.ts";

const root = mkdtempSync(path.join(tmpdir(), "catchall-inspect-"));
after(() => rmSync(root, { recursive: true }));
let made = 0;

/** A directory with a log of so many entries of 100 bytes. */
async function dataDirectory(
  entries: number,
): Promise<{ dir: string; disk: NodeDisk; storeId: number }> {
  made++;
  const dir = path.join(root, `data-${made}`);
  mkdirSync(dir);
  const disk = new NodeDisk(dir);
  const { storeId } = await openStoreIdentity(disk, { uint32: () => 7 });
  const log = await FileNodeLog.open(disk, { storeId, segmentBytes: 64 * 1024 });
  await log.create(1);
  let crc = chainSeed(1, storeId);
  for (let sequence = 1; sequence <= entries; sequence++) {
    const bytes = new Uint8Array(100).fill(sequence, ENTRY_HEADER_BYTES);
    crc = sealEnvelope(
      bytes,
      { kind: ENTRY_KIND_DATA, nonce: 1, incarnation: 1, sequence, timeMs: 1000 * sequence },
      crc,
    );
    assert.deepEqual(await log.append(bytes, sequence - 1), { kind: "committed" });
  }
  await log.close();
  return { dir, disk, storeId };
}

function firstSegment(dir: string): string {
  const file = readdirSync(dir, { recursive: true, encoding: "utf8" }).find((name) =>
    name.endsWith(".wal"),
  );
  assert.ok(file !== undefined);
  return path.join(dir, file);
}

function damage(file: string, offset: number): void {
  const bytes = readFileSync(file);
  bytes[offset] = (bytes[offset] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

describe("inspect wal", () => {
  it("shows the last entries and the sums, and changes nothing", async () => {
    const { dir } = await dataDirectory(30);
    // What a running node keeps beside its segments must survive.
    writeFileSync(path.join(path.dirname(firstSegment(dir)), "next.tmp"), "x");
    const before = snapshot(dir);
    const { code, stdout } = await cli(["inspect", "wal", dir, "--limit", "2"]);
    assert.equal(code, 0);
    assert.equal(stdout.split("\n").filter((line) => line.endsWith(" ok")).length, 2);
    assert.match(
      stdout,
      /\n +1 +30 +1970-01-01T00:00:30\.000Z +events +100 +ok\n30 entries in 1 log, 3,000 bytes, every checksum right\n$/,
    );
    assert.deepEqual(snapshot(dir), before);
  });

  it("prints every entry as a line with --json", async () => {
    const { dir } = await dataDirectory(3);
    const { code, stdout } = await cli(["inspect", "wal", dir, "--json"]);
    assert.equal(code, 0);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ sequence }) => sequence),
      [1, 2, 3],
    );
    assert.deepEqual(lines[0], {
      incarnation: 1,
      sequence: 1,
      time: "1970-01-01T00:00:01.000Z",
      kind: "events",
      bytes: 100,
      crc: "ok",
    });
  });

  it("ends with 1 at the first damage and names file and offset", async () => {
    const { dir } = await dataDirectory(5);
    damage(firstSegment(dir), 512 * 3 + 60);
    const { code, stderr } = await cli(["inspect", "wal", dir]);
    assert.equal(code, 1);
    assert.match(stderr, /\.wal" is damaged at byte \d+/);
  });

  it("says with --repair --dry-run what would be given up, then gives up just that", async () => {
    const { dir } = await dataDirectory(5);
    damage(firstSegment(dir), 512 * 3 + 60);
    const before = snapshot(dir);
    const dry = await cli(["inspect", "wal", dir, "--repair", "--dry-run"]);
    assert.equal(dry.code, 0);
    assert.match(dry.stdout, /would keep entries up to 2/);
    for (const [file, bytes] of Object.entries(before))
      assert.equal(snapshot(dir)[file], bytes, file);
    const repaired = await cli(["inspect", "wal", dir, "--repair", "--json"]);
    assert.equal(JSON.parse(repaired.stdout).repairs[0].lastSequence, 2);
    const { code, stdout } = await cli(["inspect", "wal", dir]);
    assert.equal(code, 0);
    assert.match(stdout, /\n2 entries in 1 log/);
  });

  it("fails on what is no data directory", async () => {
    for (const dir of [path.join(root, "missing"), root]) {
      const { code, stdout, stderr } = await cli(["inspect", "wal", dir]);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /not a (data )?directory/);
    }
  });
});

describe("inspect checkpoint", () => {
  it("says when there is none", async () => {
    const { dir } = await dataDirectory(1);
    assert.deepEqual(await cli(["inspect", "checkpoint", dir]), {
      code: 0,
      stdout: "No checkpoint yet\n",
      stderr: "",
    });
  });

  it("shows manifests and pages, and changes nothing", async () => {
    const { dir, disk, storeId } = await dataDirectory(1);
    const store = await FileCheckpointStore.open(disk, { storeId });
    const position = { epoch: 2, incarnation: 1, sequence: 17 };
    const writer = await store.begin(true);
    await writer.putPages([
      { partition: 3, kind: "counters", id: 5, position, bytes: new Uint8Array(1234) },
    ]);
    const manifests = [{ partition: 3, watermark: position, keyBuckets: [], domainCount: 0 }];
    const about = {
      formatVersion: 1,
      partitions: 4,
      hashName: "h",
      canonicalisationVersion: "c",
      timeMs: 1000,
    };
    await writer.commit({ ...about, manifests });
    await store.close();
    const before = snapshot(dir);
    const { code, stdout } = await cli(["inspect", "checkpoint", dir]);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^checkpoint of 1970-01-01T00:00:01\.000Z, format 1, 4 partitions, hash h\n/,
    );
    assert.match(stdout, /\n +3 +2 +1 +17 +1 +0 +1,234\n$/);
    const asJson = await cli(["inspect", "checkpoint", dir, "--json"]);
    assert.deepEqual(JSON.parse(asJson.stdout).manifests[0].counters, { pages: 1, bytes: 1234 });
    assert.deepEqual(snapshot(dir), before);
  });
});
