/**
 * Adapter: manifests and the store's own record as documents of MongoDB.
 *
 *   manifests  {_id: partition, v: [epoch, sequence, incarnation], keyBuckets, domainCount, timeMs, c: crc32c}
 *   store      {_id: "store", layoutVersion, instance, storeId, formatVersion, partitions, hashName,
 *               canonicalisationVersion}: made before the first manifest, never changed
 *
 * What was read is parsed, never asserted; what makes no sense is `checkpoint_damaged`.
 */

import type { Document } from "mongodb";
import { CatchallError } from "../model/errors.ts";
import { crc32c } from "../runtime/crc32c.ts";
import type { ManifestSet, PartitionManifest } from "./checkpoint-store.ts";
import { isCount, positionOf, versionOf } from "./mongo-page-codec.ts";

export const LAYOUT_VERSION = 1;

export type Identity = Omit<ManifestSet, "manifests" | "timeMs">;

export interface ManifestDocument extends Document {
  readonly _id: number;
  readonly timeMs?: unknown;
}

export interface StoreDocument extends Document {
  readonly _id: string;
}

/** What the database says about itself. */
export interface StoreRecord extends Identity {
  /** Random; another one means that the database was emptied or replaced. */
  readonly instance: string;
  readonly storeId: number;
}

export function encodeManifest(manifest: PartitionManifest, timeMs: number): ManifestDocument {
  const { partition, watermark, keyBuckets, domainCount } = manifest;
  const v = versionOf(watermark);
  const c = crcOf(partition, v, keyBuckets, domainCount, timeMs);
  return { _id: partition, v, keyBuckets: [...keyBuckets], domainCount, timeMs, c };
}

/** Errors: CatchallError `checkpoint_damaged`. */
export function decodeManifest(document: ManifestDocument): {
  readonly manifest: PartitionManifest;
  readonly timeMs: number;
} {
  const { _id: partition, v, keyBuckets, domainCount, timeMs, c } = document;
  const watermark = positionOf(v);
  const isWhole =
    isCount(partition) &&
    watermark !== null &&
    Array.isArray(keyBuckets) &&
    keyBuckets.every(isCount) &&
    isCount(domainCount) &&
    typeof timeMs === "number" &&
    c === crcOf(partition, versionOf(watermark), keyBuckets, domainCount, timeMs);
  if (!isWhole) {
    const message = `Manifest of partition "${String(partition)}" in MongoDB is damaged`;
    throw new CatchallError("checkpoint_damaged", message);
  }
  return { manifest: { partition, watermark, keyBuckets, domainCount }, timeMs };
}

export function encodeStore(record: StoreRecord): Document {
  return { layoutVersion: LAYOUT_VERSION, ...record };
}

/** Errors: CatchallError `checkpoint_damaged`, also for a layout that this version does not know. */
export function decodeStore(document: StoreDocument): StoreRecord {
  const { layoutVersion, instance, storeId, formatVersion, partitions } = document;
  const { hashName, canonicalisationVersion } = document;
  if (layoutVersion !== LAYOUT_VERSION) {
    throw damagedStore(`it has layout "${String(layoutVersion)}", ours is ${LAYOUT_VERSION}`);
  }
  const isWhole =
    typeof instance === "string" &&
    isCount(storeId) &&
    isCount(formatVersion) &&
    isCount(partitions) &&
    typeof hashName === "string" &&
    typeof canonicalisationVersion === "string";
  if (!isWhole) throw damagedStore("its record makes no sense");
  return { instance, storeId, formatVersion, partitions, hashName, canonicalisationVersion };
}

/** Errors: CatchallError `checkpoint_damaged` unless the store was written by a node like this one. */
export function checkIdentity(record: StoreRecord, set: Identity): void {
  for (const key of IDENTITY_KEYS) {
    if (record[key] === set[key]) continue;
    throw damagedStore(`it was written with ${key} "${record[key]}", this node has "${set[key]}"`);
  }
}

export function identityOf(record: Identity): Identity {
  const { formatVersion, partitions, hashName, canonicalisationVersion } = record;
  return { formatVersion, partitions, hashName, canonicalisationVersion };
}

export function damagedStore(reason: string): CatchallError {
  const message = `The checkpoint store in MongoDB cannot be used: ${reason}`;
  return new CatchallError("checkpoint_damaged", message);
}

const IDENTITY_KEYS = [
  "formatVersion",
  "partitions",
  "hashName",
  "canonicalisationVersion",
] as const;

function crcOf(
  partition: number,
  v: readonly number[],
  keyBuckets: readonly number[],
  domainCount: number,
  timeMs: number,
): number {
  const text = Buffer.from(JSON.stringify([partition, v, keyBuckets, domainCount, timeMs]));
  return crc32c(text, 0, text.length);
}
