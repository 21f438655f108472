/**
 * The control table of a node that is alone: which incarnation it is, its rule, its number of partitions. One JSON file,
 * replaced whole (temporary file, sync, rename, directory sync), with a checksum: a rule whose bit flipped is a rule too.
 * Invariant: an incarnation is durable here before its log exists, and never handed out twice.
 */

import { CatchallError } from "../model/errors.ts";
import type { Rule } from "../model/status.ts";
import { crc32c } from "../runtime/crc32c.ts";
import type { Disk } from "../runtime/disk.ts";

const FILE = "control.json";
const TEMPORARY_FILE = "control.json.tmp";
export const CONTROL_FORMAT_VERSION = 1;

export interface ControlTable {
  readonly formatVersion: number;
  readonly partitions: number;
  readonly incarnation: number;
  /** Rule of the first start; partitions replay from it. */
  readonly initialRule: Rule;
  readonly rule: Rule;
  readonly ruleRevision: number;
}

export class LocalControlStore {
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** Null on a first start. Errors: `checkpoint_damaged` when the file is not a control table. */
  async read(): Promise<ControlTable | null> {
    if (!(await this.#disk.exists(FILE))) return null;
    return parseTable(await this.#disk.read(FILE));
  }

  /** Replaces the table; durable when it resolves. */
  async write(table: ControlTable): Promise<void> {
    const checked = { ...table, checksum: checksumOf(table) };
    const bytes = new TextEncoder().encode(`${JSON.stringify(checked, null, 2)}\n`);
    const file = await this.#disk.create(TEMPORARY_FILE, 0);
    await file.writeSynced(0, bytes);
    await file.close();
    await this.#disk.rename(TEMPORARY_FILE, FILE);
    await this.#disk.syncDirectory(".");
  }
}

/** Of the text of all other fields, in their order. */
function checksumOf(table: ControlTable): number {
  const bytes = new TextEncoder().encode(JSON.stringify(table));
  return crc32c(bytes, 0, bytes.length);
}

function parseTable(bytes: Uint8Array): ControlTable {
  let parsed: ControlTable & { readonly checksum?: number };
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new CatchallError("checkpoint_damaged", `"${FILE}" cannot be read`, { cause });
  }
  const { checksum, ...table } = parsed ?? {};
  // Files of before have none.
  if (checksum !== undefined && checksum !== checksumOf(table)) {
    throw new CatchallError("checkpoint_damaged", `"${FILE}" is damaged: its checksum is wrong`);
  }
  if (table?.formatVersion !== CONTROL_FORMAT_VERSION) {
    throw new CatchallError(
      "checkpoint_damaged",
      `"${FILE}" is not of format ${CONTROL_FORMAT_VERSION}`,
    );
  }
  const counts = [table.partitions, table.incarnation, table.ruleRevision];
  if (!counts.every((count) => Number.isSafeInteger(count) && count >= 0)) {
    throw new CatchallError("checkpoint_damaged", `"${FILE}" has a number that is not one`);
  }
  if (!isRule(table.rule) || !isRule(table.initialRule)) {
    throw new CatchallError("checkpoint_damaged", `"${FILE}" has a rule that is not one`);
  }
  return table;
}

function isRule(rule: Rule | undefined): boolean {
  return (
    Number.isSafeInteger(rule?.deliveredThreshold) &&
    Number.isSafeInteger(rule?.bouncedThreshold) &&
    (rule?.maxBounceRatio === null || typeof rule?.maxBounceRatio === "number")
  );
}
