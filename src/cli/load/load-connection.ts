/**
 * One keep-alive HTTP/1.1 connection of a load run: at most one request outstanding, reconnects with back-off.
 * Invariant: every request given to `send` ends in exactly one of `onAnswer` and `onBroken`.
 * Reads into one buffer shared by all connections, which is safe because an answer is parsed before the next read.
 */
import { connect as connectTcp, type Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { connect as connectTls } from "node:tls";
import { LoadRequest } from "./load-request.ts";
import { ResponseParser } from "./response-parser.ts";

export interface LoadTarget {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

export interface LoadConnectionListener {
  /** The connection is open and nothing is outstanding. */
  onReady(connection: LoadConnection): void;
  /** The parser holds the answer to the outstanding request. */
  onAnswer(connection: LoadConnection, parser: ResponseParser): void;
  /**
   * The connection broke or could not be opened. `wasSent`: a request was outstanding, its outcome is unknown.
   * Called before any reconnection; the listener decides about that with `reconnect`.
   */
  onBroken(connection: LoadConnection, wasSent: boolean, reason: string): void;
}

const BACKOFF_FIRST_MS = 10;
const BACKOFF_MAX_MS = 500;
const READ_BUFFER = Buffer.allocUnsafeSlow(256 * 1024);

/**
 * Writes that wait until every answer of this turn has been read: alternating reads and writes cost a tenth more CPU
 * on both sides. A socket that breaks meanwhile ignores its write; its request ends in `onBroken` as any other.
 */
class WriteQueue {
  readonly #sockets: Socket[] = [];
  readonly #texts: string[] = [];
  readonly #flush = (): void => {
    for (let i = 0; i < this.#sockets.length; i++) {
      const socket = this.#sockets[i] as Socket;
      if (!socket.destroyed) socket.write(this.#texts[i] as string, "latin1");
    }
    this.#sockets.length = 0;
    this.#texts.length = 0;
  };

  add(socket: Socket, text: string): void {
    this.#sockets.push(socket);
    this.#texts.push(text);
    if (this.#sockets.length === 1) setImmediate(this.#flush);
  }
}

const WRITE_QUEUE = new WriteQueue();

export class LoadConnection {
  readonly request: LoadRequest;
  readonly #targets: readonly LoadTarget[];
  readonly #listener: LoadConnectionListener;
  readonly #parser = new ResponseParser();
  #socket: Socket | null = null;
  #target: number;
  #backoffMs = 0;
  #timer: NodeJS.Timeout | null = null;
  isOpen = false;
  /** When the outstanding request was written; 0: none is outstanding. */
  sentMs = 0;
  /** When this connection last became idle. */
  idleSinceMs = 0;
  /** When it broke; 0 while it is open. */
  brokenSinceMs = 0;

  constructor(options: {
    readonly targets: readonly LoadTarget[];
    readonly firstTarget: number;
    readonly linesMax: number;
    readonly listener: LoadConnectionListener;
  }) {
    this.request = new LoadRequest(options.linesMax);
    this.#targets = options.targets;
    this.#target = options.firstTarget % options.targets.length;
    this.#listener = options.listener;
  }

  open(): void {
    const target = this.#targets[this.#target] as LoadTarget;
    const socket = target.isTls ? this.#openTls(target) : this.#openTcp(target);
    this.#socket = socket;
    let reason = "connection_lost";
    socket.on("error", (error: NodeJS.ErrnoException) => {
      reason = this.isOpen ? "connection_lost" : (error.code ?? "connect_failed").toLowerCase();
    });
    socket.on(target.isTls ? "secureConnect" : "connect", () => {
      this.isOpen = true;
      this.#backoffMs = 0;
      this.brokenSinceMs = 0;
      this.#listener.onReady(this);
    });
    socket.on("close", () => {
      if (this.#socket === socket) this.#break(reason);
    });
  }

  /** Writes a request at the end of this turn of the event loop; the connection must be open and idle. */
  send(text: string, nowMs: number): void {
    this.sentMs = nowMs;
    WRITE_QUEUE.add(this.#socket as Socket, text);
  }

  /** Opens again after the back-off; with several targets, the next one. */
  reconnect(): void {
    this.#backoffMs = Math.min(BACKOFF_MAX_MS, Math.max(BACKOFF_FIRST_MS, this.#backoffMs * 2));
    this.#target = (this.#target + 1) % this.#targets.length;
    this.after(this.#backoffMs, () => this.open());
  }

  /** Runs `work` later, unless the connection is closed by then. */
  after(delayMs: number, work: () => void): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      work();
    }, delayMs);
  }

  /** Gives the outstanding request up: the listener hears `onBroken`. */
  abandon(reason: string): void {
    const socket = this.#socket;
    if (socket === null) return;
    this.#break(reason);
    socket.destroy();
  }

  /** Closes for good, silently. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const socket = this.#socket;
    this.#socket = null;
    this.isOpen = false;
    socket?.destroy();
  }

  #openTcp(target: LoadTarget): Socket {
    return connectTcp({
      host: target.host,
      port: target.port,
      noDelay: true,
      // Skips the stream machinery and an allocation for each read.
      onread: {
        buffer: READ_BUFFER,
        callback: (byteCount: number, buffer: Uint8Array): boolean => {
          this.#read((buffer as Buffer).subarray(0, byteCount));
          return true;
        },
      },
    });
  }

  #openTls(target: LoadTarget): Socket {
    const { host, port } = target;
    const socket = connectTls({ host, port, ALPNProtocols: ["http/1.1"] });
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    return socket;
  }

  #read(chunk: Buffer): void {
    if (this.sentMs === 0) return this.abandon("unexpected_answer");
    let isComplete = false;
    try {
      isComplete = this.#parser.push(chunk);
    } catch {
      return this.abandon("broken_answer");
    }
    if (!isComplete) return;
    this.sentMs = 0;
    this.#listener.onAnswer(this, this.#parser);
  }

  #break(reason: string): void {
    const wasSent = this.sentMs !== 0;
    this.#socket = null;
    this.isOpen = false;
    this.sentMs = 0;
    this.#parser.reset();
    if (this.brokenSinceMs === 0) this.brokenSinceMs = performance.now();
    this.#listener.onBroken(this, wasSent, reason);
  }
}
