/**
 * Answers the frames of peers from the partitions that are open here.
 *
 * Workflow: whole? → not handled before? → events to their actors, questions to `LocalAnswers` → one reply for the frame.
 * Safety: a frame with an effect is handled once (frame-window.ts). A frame that can't be read, or was handled before,
 * gets no reply: its first copy may be under way. A frame is refused as a whole only before anything of it was done.
 */

import { CatchallError } from "../model/errors.ts";
import { pageOf } from "../model/partition-id.ts";
import {
  decodeEventsFrame,
  encodeEventsReply,
  type IncomingSubBatch,
} from "../transport/events-codec.ts";
import {
  damagedFrame,
  decodeJsonPayload,
  encodeJsonFrame,
  FRAME_EVENTS,
  FRAME_HEADER_BYTES,
  FRAME_REFUSED,
  FRAME_REPLY,
  FRAME_REQUEST,
  type FrameHeader,
  openFrame,
  wireError,
} from "../transport/message-codec.ts";
import { FRAME_BYTES_MAX } from "../transport/transport.ts";
import { FrameWindow } from "./frame-window.ts";
import type { LocalAnswers } from "./local-answers.ts";
import type { OwnerReading } from "./owner-answers.ts";
import type { PeerLink } from "./peer-link.ts";
import {
  type Fields,
  parseDomainChange,
  parseDomains,
  parseImportChunk,
  parseListQuestion,
  parsePartitions,
  parseRule,
  parseRuleChange,
  READINGS_PER_SLICE_MAX,
  text,
} from "./peer-messages.ts";
import { areOfPartition, FrameOutcomes, RemoteBatch } from "./remote-batch.ts";

/** Bytes of frames with events that wait for their commit; over it they are refused. */
export const PEER_HELD_BYTES_MAX: number = 64 * 1024 * 1024;
/** Senders whose windows are kept before those that are no members are dropped. */
const WINDOWS_MAX = 64;

/** Answers a question of an operator's command, in JSON. Errors: CatchallError. */
export type PeerQuery = (body: Fields) => Promise<unknown>;

export interface PeerHandlerOptions {
  readonly link: PeerLink;
  readonly local: LocalAnswers;
  /** By name; see `PeerRequests.query`. */
  readonly queries: ReadonlyMap<string, PeerQuery>;
}

export class PeerHandler {
  readonly #options: PeerHandlerOptions;
  readonly #windows: Map<number, FrameWindow> = new Map();
  #heldBytes = 0;

  constructor(options: PeerHandlerOptions) {
    this.#options = options;
  }

  /** Answers the frames of this incarnation's transport from now on. */
  serve(): void {
    this.#options.link.transport.serve((frame) => this.handle(frame));
  }

  /** Rejects when there is to be no reply. */
  async handle(frame: Uint8Array): Promise<Uint8Array> {
    const { link } = this.#options;
    const header = openFrame(frame);
    link.view.seen(header.revision);
    if (header.number !== 0 && !this.#windowOf(header.sender).take(header.number)) {
      throw damagedFrame("it was handled before");
    }
    try {
      if (header.type === FRAME_EVENTS) return await this.#events(frame, header);
      if (header.type === FRAME_REQUEST) return await this.#request(frame);
      throw damagedFrame(`type ${header.type} asks nothing`);
    } catch (error) {
      return encodeJsonFrame({ ...link.header(false), type: FRAME_REFUSED }, wireError(error));
    }
  }

  /** Throws before anything is admitted, or answers each sub-batch. */
  #events(frame: Uint8Array, header: FrameHeader): Promise<Uint8Array> {
    const { link, local } = this.#options;
    const batches = decodeEventsFrame(frame);
    for (const batch of batches) {
      if (!areOfPartition(frame, batch, local.host.partitions)) {
        throw damagedFrame("a record lies in another partition");
      }
    }
    if (this.#heldBytes + frame.length > PEER_HELD_BYTES_MAX) throw new CatchallError("overloaded");
    if (batches.length === 0) throw damagedFrame("it has no sub-batches");
    this.#heldBytes += frame.length;
    return new Promise((resolve) => {
      const outcomes = new FrameOutcomes(batches.length, (all) => {
        this.#heldBytes -= frame.length;
        resolve(encodeEventsReply(link.header(false), all));
      });
      for (let place = 0; place < batches.length; place++) {
        const batch = batches[place] as IncomingSubBatch;
        const actor = local.host.actorAt(batch.partition);
        if (actor === undefined) {
          outcomes.ended(place, { kind: "error", error: this.#notOpen(batch.partition) });
        } else {
          actor.admit(new RemoteBatch(frame, header.sender, batch, outcomes, place));
        }
      }
    });
  }

  #notOpen(partition: number): CatchallError {
    const { view } = this.#options.link;
    return new CatchallError(
      view.ownerOf(partition) === view.self ? "partition_closed" : "not_owner",
    );
  }

  async #request(frame: Uint8Array): Promise<Uint8Array> {
    const question = decodeJsonPayload(frame);
    const kind = text(question, "kind");
    let answer: Fields;
    try {
      answer = await this.#answer(kind, question);
    } catch (error) {
      answer = { error: wireError(error) };
    }
    return this.#reply(answer);
  }

  #reply(answer: Fields): Uint8Array {
    const header = { ...this.#options.link.header(false), type: FRAME_REPLY };
    const frame = encodeJsonFrame(header, answer);
    if (frame.length <= FRAME_BYTES_MAX) return frame;
    const { results } = answer;
    if (Array.isArray(results) && results.length > 1) {
      // The asker asks again for what is missing.
      return this.#reply({ results: results.slice(0, results.length >>> 1) });
    }
    const error = new CatchallError("frame_damaged", "The answer is larger than a frame may be");
    return encodeJsonFrame(header, { error: wireError(error) });
  }

  async #answer(kind: string, question: Fields): Promise<Fields> {
    const { local, queries } = this.#options;
    const partitions = (): number[] =>
      parsePartitions(question["partitions"], local.host.partitions);
    switch (kind) {
      case "read":
        return this.#read(question);
      case "list":
        return this.#list(question);
      case "totals":
        return { ...(await local.totalsOf(partitions())) };
      case "tryRule": {
        const rule = parseRule(question["rule"]);
        return { transitions: await local.tryRuleOn(rule, partitions()) };
      }
      case "applyRule": {
        const change = parseRuleChange(question);
        return { transitions: await local.applyRuleOn(change, partitions()) };
      }
      case "change":
        await local.change(parseDomainChange(question["change"]));
        return {};
      case "import": {
        const chunk = parseImportChunk(question["chunk"]);
        return { added: await local.importChunk(chunk, text(question, "by")) };
      }
      case "query": {
        const query = queries.get(text(question, "name"));
        if (query === undefined) throw new CatchallError("not_implemented");
        return { value: await query(bodyOf(question)) };
      }
      default:
        throw new CatchallError("not_implemented", "This node does not know the question");
    }
  }

  /** One synchronous step: a reading or an error for each domain, in the order asked. */
  #read(question: Fields): Fields {
    const results = parseDomains(question["domains"]).map((domain) => {
      try {
        return this.#options.local.read(domain).reading;
      } catch (error) {
        return { error: wireError(error) };
      }
    });
    return { results };
  }

  async #list(question: Fields): Promise<Fields> {
    const { local } = this.#options;
    const { status, after, limit, pages } = parseListQuestion(question);
    const most = Math.min(limit, READINGS_PER_SLICE_MAX);
    const { readings, next } = await local.list(status, after, most, pages);
    let room = FRAME_BYTES_MAX - FRAME_HEADER_BYTES - 500;
    const fitting: OwnerReading["reading"][] = [];
    for (const { reading } of readings) {
      room -= sizeOf(reading);
      if (room < 0) break;
      fitting.push(reading);
    }
    const last = fitting.at(-1);
    if (fitting.length === readings.length || last === undefined)
      return { readings: fitting, next };
    const name = last.domain;
    return {
      readings: fitting,
      next: { page: pageOf(local.host.hashOf(name as never)), name },
    };
  }

  #windowOf(sender: number): FrameWindow {
    let window = this.#windows.get(sender);
    if (window !== undefined) return window;
    if (this.#windows.size >= WINDOWS_MAX) {
      const { view } = this.#options.link;
      for (const known of [...this.#windows.keys()]) {
        if (view.nodeIdOf(known) === null) this.#windows.delete(known);
      }
    }
    window = new FrameWindow();
    this.#windows.set(sender, window);
    return window;
  }
}

function bodyOf(question: Fields): Fields {
  const { body } = question;
  if (typeof body !== "object" || body === null) throw damagedFrame('"body" is wrong');
  return body as Fields;
}

/** Bytes in a JSON list. */
function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value)) + 1;
}
