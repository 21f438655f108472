/**
 * The file system as the log and the checkpoints need it. Paths are relative to the data directory, "/" separated.
 *
 * Promises: `writeSynced` and `sync` resolve when the bytes survive a power cut; a rejection means that nothing may be
 * believed about the file any more (never retried). `rename` and `create` survive only after `syncDirectory`.
 * Errors: rejections carry the system's error as `cause` of a CatchallError `log_failed` (or `log_full` for ENOSPC).
 */
export interface Disk {
  list(directory: string): Promise<readonly string[]>;
  read(path: string): Promise<Uint8Array>;
  size(path: string): Promise<number>;
  exists(path: string): Promise<boolean>;
  makeDirectory(path: string): Promise<void>;
  /** Creates (or truncates) a file of `sizeBytes` zero bytes; allocated, not sparse. */
  create(path: string, sizeBytes: number): Promise<DiskFile>;
  open(path: string): Promise<DiskFile>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
}

export interface DiskFile {
  /** Writes all of `bytes` at `position` and makes it durable (one fdatasync). `bytes` must not change meanwhile. */
  writeSynced(position: number, bytes: Uint8Array): Promise<void>;
  /** Writes without syncing. */
  write(position: number, bytes: Uint8Array): Promise<void>;
  read(position: number, length: number): Promise<Uint8Array>;
  /** Fills `into` from `position` on; resolves to the bytes read, fewer than asked for only where the file ends. */
  readInto(position: number, into: Uint8Array): Promise<number>;
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  close(): Promise<void>;
}
