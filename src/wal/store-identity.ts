/**
 * Identity of a data directory: a random number made at the first start, which seeds every checksum chain in it, so
 * that files copied in from another directory are refused. Never changes; a damaged one is refused, never remade.
 */

import { CatchallError } from "../model/errors.ts";
import type { Disk } from "../runtime/disk.ts";
import type { Random } from "../runtime/random.ts";

export interface StoreIdentity {
  readonly format: number;
  /** Unsigned 32 bits. */
  readonly storeId: number;
}

const IDENTITY_PATH = "store.json";
const IDENTITY_TEMPORARY = "store.json.tmp";
const IDENTITY_FORMAT = 1;

/** Reads `store.json`, or makes it. Errors: CatchallError `log_damaged` when it cannot be read. */
export async function openStoreIdentity(disk: Disk, random: Random): Promise<StoreIdentity> {
  if (await disk.exists(IDENTITY_PATH)) return parseIdentity(await disk.read(IDENTITY_PATH));
  const identity: StoreIdentity = { format: IDENTITY_FORMAT, storeId: random.uint32() };
  const bytes = new TextEncoder().encode(`${JSON.stringify(identity)}\n`);
  const file = await disk.create(IDENTITY_TEMPORARY, 0);
  await file.write(0, bytes);
  await file.sync();
  await file.close();
  await disk.rename(IDENTITY_TEMPORARY, IDENTITY_PATH);
  await disk.syncDirectory(".");
  return identity;
}

function parseIdentity(bytes: Uint8Array): StoreIdentity {
  const parsed = parseJson(new TextDecoder().decode(bytes));
  if (typeof parsed === "object" && parsed !== null && "format" in parsed && "storeId" in parsed) {
    const { format, storeId } = parsed;
    const isStoreId = typeof storeId === "number" && storeId >>> 0 === storeId;
    if (format === IDENTITY_FORMAT && isStoreId) return { format, storeId };
  }
  throw new CatchallError("log_damaged", `"${IDENTITY_PATH}" is not of format ${IDENTITY_FORMAT}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
