/**
 * Fans status changes out to the event streams that are open, from one subscription to the ingress.
 * Invariant: a stream holds a bounded backlog; a client that reads too slowly is cut off (it reconnects and gets the
 * status of now), and can hold back neither the node nor other streams.
 */

import type { Ingress, StatusChange } from "../router/ingress.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import type { HttpStream } from "./http-server.ts";

export interface StreamOptions {
  readonly accepts: (change: StatusChange) => boolean;
  readonly backlogMax: number;
  readonly heartbeatMs: number;
  readonly timers: Timers;
  /** Called once, however the stream ends. */
  readonly onEnd: () => void;
}

export class StatusStreams {
  readonly #ingress: Ingress;
  readonly #open: Set<StatusStream> = new Set();
  #unsubscribe: (() => void) | null = null;

  constructor(ingress: Ingress) {
    this.#ingress = ingress;
  }

  /** Subscribes now; nothing is written before `start`. */
  open(options: StreamOptions): StatusStream {
    const stream = new StatusStream({
      ...options,
      onEnd: () => {
        this.#open.delete(stream);
        if (this.#open.size === 0) this.#stop();
        options.onEnd();
      },
    });
    this.#open.add(stream);
    this.#unsubscribe ??= this.#ingress.onStatusChange((change) => {
      for (const each of this.#open) each.offer(change);
    });
    return stream;
  }

  /** Ends every stream, for shutdown. */
  endAll(): void {
    for (const stream of [...this.#open]) stream.end();
  }

  #stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }
}

export class StatusStream {
  readonly #options: StreamOptions;
  #backlog: string[] = [];
  #stream: HttpStream | null = null;
  #isReady = false;
  #isEnded = false;
  #heartbeat: TimerHandle | null = null;

  constructor(options: StreamOptions) {
    this.#options = options;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Writes `first` and then what has gathered since `open`. */
  start(stream: HttpStream, first: string): void {
    if (this.#isEnded) {
      stream.end();
      return;
    }
    this.#stream = stream;
    stream.onDrain(() => this.#drain());
    this.#isReady = stream.write(`retry: 2000\n\n${first}`);
    if (this.#isReady) this.#drain();
    this.#beat();
  }

  offer(change: StatusChange): void {
    if (this.#isEnded || !this.#options.accepts(change)) return;
    this.#backlog.push(formatEvent("change", change, change.id));
    if (this.#backlog.length > this.#options.backlogMax) this.end();
    else if (this.#isReady) this.#drain();
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#backlog = [];
    this.#heartbeat?.cancel();
    this.#stream?.end();
    this.#options.onEnd();
  }

  #drain(): void {
    if (this.#isEnded || this.#stream === null) return;
    this.#isReady = true;
    if (this.#backlog.length === 0) return;
    const chunk = this.#backlog.join("");
    this.#backlog = [];
    this.#isReady = this.#stream.write(chunk);
  }

  #beat(): void {
    this.#heartbeat = this.#options.timers.after(this.#options.heartbeatMs, () => {
      if (this.#isEnded) return;
      // A comment line keeps proxies from closing an idle stream; skipped while the client is behind.
      if (this.#isReady) this.#isReady = this.#stream?.write(":\n\n") ?? false;
      this.#beat();
    });
  }
}

/** One server-sent event. JSON has no raw newlines, so one `data` line holds it. */
export function formatEvent(name: string, value: unknown, id?: string): string {
  const idLine = id === undefined ? "" : `id: ${id.replaceAll(/[\r\n\0]/g, "")}\n`;
  return `event: ${name}\n${idLine}data: ${JSON.stringify(value)}\n\n`;
}
