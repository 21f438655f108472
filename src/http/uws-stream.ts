/**
 * A streamed answer on uWebSockets.js. Its `onWritable` stops the library from draining its own buffer (measured: a
 * stream stalls for ever), so it is not used. Instead: once a write reports a backlog, later bytes wait here, and a
 * short poll writes one held-back byte, which succeeds only when the backlog is gone.
 * Invariant: at most `STREAM_BYTES_MAX` wait here, then the connection is closed. Nothing is written after the end.
 */

import type { HttpResponse as UwsResponse } from "uWebSockets.js";
import type { HttpStream } from "./http-server.ts";

/** Bytes that may wait for a slow reader before it is given up. */
export const STREAM_BYTES_MAX = 1_048_576;
// One byte goes with each poll: 256 polls, up to 500 ms apart, give a stalled reader two minutes.
const HELD_BYTES = 256;
const POLL_FIRST_MS = 2;
const POLL_MAX_MS = 500;

export class UwsStream implements HttpStream {
  isClosed: boolean = false;
  private readonly response: UwsResponse;
  private readonly onEnded: () => void;
  private waiting: Uint8Array[] = [];
  private waitingBytes: number = 0;
  private isBlocked: boolean = false;
  private pollMs: number = POLL_FIRST_MS;
  private pollTimer: NodeJS.Timeout | null = null;
  private drainListener: (() => void) | null = null;

  constructor(response: UwsResponse, onEnded: () => void) {
    this.response = response;
    this.onEnded = onEnded;
  }

  write(chunk: string | Uint8Array): boolean {
    if (this.isClosed) return false;
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    if (bytes.byteLength === 0) return !this.isBlocked;
    if (!this.isBlocked) return this.writeThrough(bytes);
    if (this.waitingBytes + bytes.byteLength > STREAM_BYTES_MAX) {
      this.response.close();
      return false;
    }
    this.waiting.push(new Uint8Array(bytes));
    this.waitingBytes += bytes.byteLength;
    return false;
  }

  onDrain(listener: () => void): void {
    this.drainListener = listener;
  }

  end(): void {
    if (this.isClosed) return;
    const waiting = this.waiting;
    this.close();
    this.response.cork(() => {
      for (const bytes of waiting) this.response.write(bytes);
      this.response.end();
    });
    this.onEnded();
  }

  /** The client has gone, or the stream ended: forgets everything. */
  close(): void {
    this.isClosed = true;
    this.waiting = [];
    this.waitingBytes = 0;
    this.drainListener = null;
    if (this.pollTimer !== null) clearTimeout(this.pollTimer);
    this.pollTimer = null;
  }

  private writeThrough(bytes: Uint8Array): boolean {
    const heldBytes = Math.min(HELD_BYTES, bytes.byteLength - 1);
    const first = bytes.subarray(0, bytes.byteLength - heldBytes);
    const held = bytes.subarray(bytes.byteLength - heldBytes);
    let isThrough = true;
    this.response.cork(() => {
      isThrough = this.response.write(first);
      // A backlog that begins with the last bytes is met by the next write.
      if (isThrough && heldBytes > 0) this.response.write(held);
    });
    if (isThrough || heldBytes === 0) return true;
    this.isBlocked = true;
    this.waiting.push(new Uint8Array(held));
    this.waitingBytes = heldBytes;
    this.pollMs = POLL_FIRST_MS;
    this.schedulePoll();
    return false;
  }

  private schedulePoll(): void {
    this.pollTimer = setTimeout(() => this.poll(), this.pollMs);
    this.pollMs = Math.min(this.pollMs * 2, POLL_MAX_MS);
  }

  private poll(): void {
    this.pollTimer = null;
    if (this.isClosed) return;
    const head = this.waiting[0] as Uint8Array;
    let isThrough = false;
    this.response.cork(() => {
      isThrough = this.response.write(head.subarray(0, 1));
    });
    this.waitingBytes -= 1;
    if (head.byteLength > 1) this.waiting[0] = head.subarray(1);
    else this.waiting.shift();
    if (!isThrough) {
      if (this.waiting.length === 0) this.response.close();
      else this.schedulePoll();
      return;
    }
    this.isBlocked = false;
    const waiting = this.waiting;
    this.waiting = [];
    this.waitingBytes = 0;
    for (let index = 0; index < waiting.length; index += 1) {
      if (this.isBlocked) {
        const bytes = waiting[index] as Uint8Array;
        this.waiting.push(bytes);
        this.waitingBytes += bytes.byteLength;
      } else this.writeThrough(waiting[index] as Uint8Array);
    }
    if (!this.isBlocked) this.drainListener?.();
  }
}

/** The stream that answers HEAD: closed from the start. */
export const CLOSED_STREAM: HttpStream = {
  isClosed: true,
  write: () => false,
  onDrain: () => undefined,
  end: () => undefined,
};
