/**
 * The Disk port with nothing that changes anything: `inspect` and `verify` may look into the directory of a running node.
 * What the log and the checkpoints do on opening (make and sync a directory, remove half-made files, make the last
 * record of a dead log durable and cut what is torn behind it, which readers pass over anyway) is silently left out;
 * new files and names are refused.
 */

import { CatchallError } from "../model/errors.ts";
import type { Disk, DiskFile } from "./disk.ts";

export function readOnly(disk: Disk): Disk {
  return {
    list: (directory) => disk.list(directory),
    read: (path) => disk.read(path),
    size: (path) => disk.size(path),
    exists: (path) => disk.exists(path),
    remove: () => Promise.resolve(),
    makeDirectory: () => Promise.resolve(),
    syncDirectory: () => Promise.resolve(),
    create: refuse,
    open: async (path) => readOnlyFile(await disk.open(path)),
    rename: refuse,
  };
}

function readOnlyFile(file: DiskFile): DiskFile {
  return {
    read: (position, length) => file.read(position, length),
    readInto: (position, into) => file.readInto(position, into),
    close: () => file.close(),
    write: () => Promise.resolve(),
    writeSynced: () => Promise.resolve(),
    sync: () => Promise.resolve(),
    truncate: () => Promise.resolve(),
  };
}

function refuse(): Promise<never> {
  return Promise.reject(
    new CatchallError("log_failed", "The data directory is open for reading only"),
  );
}
