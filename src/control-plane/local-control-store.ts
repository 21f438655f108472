/**
 * The control table of a node that is alone: which incarnation it is, its rule, its number of partitions. One JSON file,
 * replaced whole (temporary file, sync, rename, directory sync).
 * Invariant: an incarnation is durable here before its log exists, and never handed out twice.
 */

import { CatchallError } from "../model/errors.ts";
import type { Rule } from "../model/status.ts";
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
    const bytes = await this.#disk.read(FILE);
    try {
      const table = JSON.parse(new TextDecoder().decode(bytes)) as ControlTable;
      if (typeof table.incarnation !== "number" || typeof table.partitions !== "number") {
        throw new CatchallError("checkpoint_damaged", `"${FILE}" is not a control table`);
      }
      return table;
    } catch (error) {
      throw new CatchallError("checkpoint_damaged", `"${FILE}" cannot be read`, { cause: error });
    }
  }

  /** Replaces the table; durable when it resolves. */
  async write(table: ControlTable): Promise<void> {
    const bytes = new TextEncoder().encode(`${JSON.stringify(table, null, 2)}\n`);
    const file = await this.#disk.create(TEMPORARY_FILE, 0);
    await file.writeSynced(0, bytes);
    await file.close();
    await this.#disk.rename(TEMPORARY_FILE, FILE);
    await this.#disk.syncDirectory(".");
  }
}
