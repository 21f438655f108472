/**
 * Status changes of this node to every node, and those of every node to this one's listeners.
 * At most once: a change may be lost on the way (the durable record is the log). Each is told once here, by its id, as
 * far back as the window reaches.
 * Invariant: the queue and the window are bounded; a burst over the queue is dropped and logged, never held.
 */

import type { StatusChange } from "../model/status-change.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Timers } from "../runtime/timers.ts";
import {
  decodeJsonPayload,
  encodeJsonFrame,
  FRAME_NOTICE,
  openFrame,
} from "../transport/message-codec.ts";
import type { PeerLink } from "./peer-link.ts";
import { arrayOf, parseStatusChange } from "./peer-messages.ts";

/** Changes in one frame, and frames sent in one turn. */
const CHANGES_PER_FRAME = 200;
const FRAMES_PER_TURN = 5;
/** Changes that wait to be sent. */
export const CHANGES_QUEUED_MAX = 20_000;
/** Ids that are remembered: this many at least, twice as many at most. */
export const CHANGE_IDS_MIN = 16_384;

export interface ChangeBroadcastOptions {
  readonly link: PeerLink;
  readonly timers: Timers;
  readonly logger: Logger;
}

export class ChangeBroadcast {
  readonly #options: ChangeBroadcastOptions;
  #queue: StatusChange[] = [];
  #isFlushDue = false;
  #dropped = 0;
  #recent: Set<string> = new Set();
  #older: Set<string> = new Set();

  constructor(options: ChangeBroadcastOptions) {
    this.#options = options;
  }

  /** Calls `listener` for each change of another node that was not told before. */
  listen(listener: (change: StatusChange) => void): void {
    this.#options.link.transport.onBroadcast((frame) => {
      for (const change of this.#read(frame)) if (this.#isNew(change.id)) listener(change);
    });
  }

  /** Tells the other nodes, at the end of this turn. */
  tell(change: StatusChange): void {
    this.#isNew(change.id);
    if (this.#queue.length >= CHANGES_QUEUED_MAX) {
      this.#dropped++;
      return;
    }
    this.#queue.push(change);
    this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#options.timers.soon(() => this.#flush());
  }

  #flush(): void {
    this.#isFlushDue = false;
    const { link, logger } = this.#options;
    const due = this.#queue.slice(0, CHANGES_PER_FRAME * FRAMES_PER_TURN);
    this.#queue = this.#queue.slice(due.length);
    for (let start = 0; start < due.length; start += CHANGES_PER_FRAME) {
      const changes = due.slice(start, start + CHANGES_PER_FRAME);
      const header = { ...link.header(false), type: FRAME_NOTICE };
      link.transport.broadcast(encodeJsonFrame(header, { kind: "changes", changes }));
    }
    if (this.#queue.length > 0) return this.#flushSoon();
    if (this.#dropped === 0) return;
    logger.warn({ dropped: this.#dropped }, "Status changes were not told to the other nodes");
    this.#dropped = 0;
  }

  /** Changes of another node; none of a frame that is not one of ours, is damaged, or speaks of something else. */
  #read(frame: Uint8Array): readonly StatusChange[] {
    const { link, logger } = this.#options;
    try {
      const header = openFrame(frame);
      if (header.type !== FRAME_NOTICE || header.sender === link.view.self) return [];
      link.view.seen(header.revision);
      const notice = decodeJsonPayload(frame);
      return notice["kind"] === "changes" ? arrayOf(notice["changes"], parseStatusChange) : [];
    } catch (error) {
      logger.warn({ err: error }, "A notice of another node could not be read");
      return [];
    }
  }

  #isNew(id: string): boolean {
    if (this.#recent.has(id) || this.#older.has(id)) return false;
    if (this.#recent.size >= CHANGE_IDS_MIN) {
      this.#older = this.#recent;
      this.#recent = new Set();
    }
    this.#recent.add(id);
    return true;
  }
}
