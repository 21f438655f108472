/**
 * An HTTP/1.1 client that sends exactly the bytes it is given, for requests that no library would send, and reads the
 * answers strictly. Never retries, never adds a header.
 */

import { connect, type Socket } from "node:net";

export interface RawResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export class RawConnection {
  bytes: Buffer = Buffer.alloc(0);
  isClosed: boolean = false;
  readonly socket: Socket;
  private waiters: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      this.wake();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.isClosed = true;
      this.wake();
    });
  }

  static open(port: number): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new RawConnection(socket));
      });
    });
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** True when `condition` came true (looked at after each chunk and at the close), false after `timeoutMs`. */
  async until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return true;
  }

  /** Waits for `count` complete answers or the close; gives what is complete by then. */
  async responses(
    count: number,
    timeoutMs: number = 3000,
    isHead: boolean = false,
  ): Promise<RawResponse[]> {
    await this.until(
      () => this.isClosed || parseResponses(this.bytes, isHead).length >= count,
      timeoutMs,
    );
    return parseResponses(this.bytes, isHead);
  }

  destroy(): void {
    this.socket.destroy();
  }

  private wake(): void {
    const waiters = this.waiters;
    this.waiters = [];
    for (const waiter of waiters) waiter();
  }
}

/** Sends `bytes` on a connection of its own and gives the answers that came before the close or `timeoutMs`. */
export async function exchange(
  port: number,
  bytes: string | Uint8Array,
  {
    count = 1,
    timeoutMs = 3000,
    isHead = false,
  }: { count?: number; timeoutMs?: number; isHead?: boolean } = {},
): Promise<{ responses: RawResponse[]; isClosed: boolean }> {
  const connection = await RawConnection.open(port);
  connection.send(bytes);
  const responses = await connection.responses(count, timeoutMs, isHead);
  const { isClosed } = connection;
  connection.destroy();
  return { responses, isClosed };
}

/** The complete final answers (interim 1xx left out) at the start of `bytes`. Throws when they are malformed. */
export function parseResponses(bytes: Buffer, isHead: boolean = false): RawResponse[] {
  const responses: RawResponse[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const headEnd = bytes.indexOf("\r\n\r\n", offset);
    if (headEnd === -1) break;
    const [statusLine = "", ...lines] = bytes.toString("latin1", offset, headEnd).split("\r\n");
    const match = /^HTTP\/1\.1 (\d{3}) /.exec(statusLine);
    if (match === null)
      throw new Error(`not an answer: ${JSON.stringify(statusLine.slice(0, 80))}`);
    const status = Number(match[1]);
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const bodyStart = headEnd + 4;
    const body = readBody(bytes, bodyStart, status, headers, isHead);
    if (body === null) break;
    offset = body.end;
    if (status >= 200) responses.push({ status, headers, body: body.bytes });
  }
  return responses;
}

function readBody(
  bytes: Buffer,
  start: number,
  status: number,
  headers: ReadonlyMap<string, string>,
  isHead: boolean,
): { bytes: Buffer; end: number } | null {
  if (isHead || status < 200 || status === 204 || status === 304) {
    return { bytes: Buffer.alloc(0), end: start };
  }
  if (headers.get("transfer-encoding") === "chunked") return readChunks(bytes, start);
  const length = headers.get("content-length");
  const end = length === undefined ? bytes.length : start + Number(length);
  return end > bytes.length ? null : { bytes: bytes.subarray(start, end), end };
}

function readChunks(bytes: Buffer, start: number): { bytes: Buffer; end: number } | null {
  const parts: Buffer[] = [];
  let offset = start;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", offset);
    if (lineEnd === -1) return null;
    const size = Number.parseInt(bytes.toString("latin1", offset, lineEnd), 16);
    const end = lineEnd + 2 + size;
    if (end + 2 > bytes.length) return null;
    parts.push(bytes.subarray(lineEnd + 2, end));
    offset = end + 2;
    if (size === 0) return { bytes: Buffer.concat(parts), end: offset };
  }
}
