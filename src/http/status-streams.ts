/**
 * Fans status changes out to the event streams that are open, from one subscription to the ingress. Once a client has
 * asked for changes of all domains, the last ones are kept, so that it can go on after a lost connection.
 * Invariant: a stream holds a bounded backlog; a client that reads too slowly is cut off (it reconnects and goes on
 * where it was, or is told that it missed something), and can hold back neither the node nor other streams.
 */

import type { StatusChange } from "../model/status-change.ts";
import type { Ingress } from "../router/ingress.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import type { ChangeHistory } from "./change-history.ts";
import type { HttpStream } from "./http-server.ts";

/** Missed changes written at once. */
const MISSED_PIECE = 100;

export interface StreamOptions {
  readonly accepts: (change: StatusChange) => boolean;
  readonly backlogMax: number;
  readonly heartbeatMs: number;
  readonly timers: Timers;
  /** Place of now, for clients that come back; null for streams that can't be resumed. */
  readonly lastId: (() => string) | null;
  /** Called once, however the stream ends. */
  readonly onEnd: () => void;
}

/** What streams do, for metrics. */
export interface StreamObserver {
  /** So many changes were written to one client. */
  sent(changes: number): void;
  /** A client that reads too slowly was cut off. */
  cutOff(): void;
}

export class StatusStreams {
  readonly history: ChangeHistory;
  readonly #ingress: Ingress;
  readonly #observer: StreamObserver;
  readonly #open: Set<StatusStream> = new Set();
  #isKeeping = false;
  #unsubscribe: (() => void) | null = null;

  constructor(ingress: Ingress, history: ChangeHistory, observer: StreamObserver) {
    this.#ingress = ingress;
    this.history = history;
    this.#observer = observer;
  }

  /** From now on changes are kept, streams or none: until then they would cost and serve nobody. */
  keepHistory(): void {
    this.#isKeeping = true;
    this.#subscribe();
  }

  /** Subscribes now; nothing is written before `start`. */
  open(options: StreamOptions): StatusStream {
    const observer = this.#observer;
    const stream = new StatusStream({
      ...options,
      observer,
      onEnd: () => {
        this.#open.delete(stream);
        if (this.#open.size === 0 && !this.#isKeeping) this.#stop();
        options.onEnd();
      },
    });
    this.#open.add(stream);
    this.#subscribe();
    return stream;
  }

  /** Ends every stream, for shutdown. */
  endAll(): void {
    for (const stream of [...this.#open]) stream.end();
  }

  #subscribe(): void {
    this.#unsubscribe ??= this.#ingress.onStatusChange((change) => {
      if (this.#isKeeping) this.history.add(change);
      for (const each of this.#open) each.offer(change);
    });
  }

  #stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }
}

export class StatusStream {
  readonly #options: StreamOptions & { readonly observer: StreamObserver };
  #backlog: string[] = [];
  /** What the client missed, bounded by the history; written before the backlog, piece by piece. */
  #missed: readonly StatusChange[] = [];
  #missedAt = 0;
  #toldId = "";
  #stream: HttpStream | null = null;
  #isReady = false;
  #isEnded = false;
  #heartbeat: TimerHandle | null = null;

  constructor(options: StreamOptions & { readonly observer: StreamObserver }) {
    this.#options = options;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Writes `first`, then `missed`, then what has gathered since `open`. */
  start(stream: HttpStream, first: string, missed: readonly StatusChange[] = []): void {
    if (this.#isEnded) {
      stream.end();
      return;
    }
    this.#stream = stream;
    // The answer to HEAD, or to a client that has gone: nobody would ever end it.
    if (stream.isClosed) {
      this.end();
      return;
    }
    this.#missed = missed.filter((change) => this.#options.accepts(change));
    stream.onDrain(() => this.#drain());
    this.#isReady = stream.write(`retry: 2000\n\n${first}${this.#place()}`);
    if (this.#isReady) this.#drain();
    this.#beat();
  }

  offer(change: StatusChange): void {
    if (this.#isEnded || !this.#options.accepts(change)) return;
    this.#backlog.push(changeEvent(change));
    if (this.#backlog.length > this.#options.backlogMax) {
      this.#options.observer.cutOff();
      this.end();
    } else if (this.#isReady) this.#drain();
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#backlog = [];
    this.#missed = [];
    this.#heartbeat?.cancel();
    this.#stream?.end();
    this.#options.onEnd();
  }

  #drain(): void {
    if (this.#isEnded || this.#stream === null) return;
    this.#isReady = true;
    this.#writeMissed(this.#stream);
    if (!this.#isReady || this.#backlog.length === 0) return;
    const chunk = this.#backlog.join("");
    this.#options.observer.sent(this.#backlog.length);
    this.#backlog = [];
    this.#isReady = this.#stream.write(chunk);
  }

  #writeMissed(stream: HttpStream): void {
    while (this.#isReady && this.#missedAt < this.#missed.length) {
      const piece = this.#missed.slice(this.#missedAt, this.#missedAt + MISSED_PIECE);
      this.#missedAt += piece.length;
      this.#options.observer.sent(piece.length);
      this.#isReady = stream.write(piece.map(changeEvent).join(""));
    }
  }

  /**
   * An id without data: clients keep it for `Last-Event-ID`, so that a stream on which nothing was sent for long (a
   * filter that little fits) can be resumed too. Only while nothing waits that comes before it.
   */
  #place(): string {
    const id = this.#options.lastId?.() ?? "";
    const isBehind = this.#missedAt < this.#missed.length || this.#backlog.length > 0;
    if (isBehind || id === this.#toldId) return "";
    this.#toldId = id;
    return `id: ${id}\n\n`;
  }

  #beat(): void {
    this.#heartbeat = this.#options.timers.after(this.#options.heartbeatMs, () => {
      if (this.#isEnded) return;
      // A comment line keeps proxies from closing an idle stream; skipped while the client is behind.
      if (this.#isReady) this.#isReady = this.#stream?.write(`${this.#place()}:\n\n`) ?? false;
      this.#beat();
    });
  }
}

function changeEvent(change: StatusChange): string {
  return formatEvent("change", change, change.id);
}

/** One server-sent event. JSON has no raw newlines, so one `data` line holds it. */
export function formatEvent(name: string, value: unknown, id?: string): string {
  const idLine = id === undefined ? "" : `id: ${id.replaceAll(/[\r\n\0]/g, "")}\n`;
  return `event: ${name}\n${idLine}data: ${JSON.stringify(value)}\n\n`;
}
