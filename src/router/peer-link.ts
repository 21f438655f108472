/**
 * This node's end of the frames: who sends, which table it has seen, numbers for frames with an effect.
 * Errors of a request: `no_responder` and what the other side says (nothing was done), or `outcome_unknown`.
 */

import { CatchallError } from "../model/errors.ts";
import {
  decodeJsonPayload,
  encodeJsonFrame,
  errorOfWire,
  FRAME_REFUSED,
  FRAME_REPLY,
  FRAME_REQUEST,
  type FrameHeader,
  openFrame,
} from "../transport/message-codec.ts";
import { FRAME_BYTES_MAX, type Transport } from "../transport/transport.ts";
import type { OwnershipView } from "./ownership-view.ts";

export class PeerLink {
  readonly view: OwnershipView;
  readonly transport: Transport;
  #lastNumber = 0;

  constructor(view: OwnershipView, transport: Transport) {
    this.view = view;
    this.transport = transport;
  }

  /** Header of a frame from here; `hasEffect` gives it a number of its own. */
  header(hasEffect: boolean): Omit<FrameHeader, "type"> {
    const number = hasEffect ? ++this.#lastNumber : 0;
    return { sender: this.view.self, revision: this.view.revision, number };
  }

  /**
   * Sends a whole frame and resolves to the whole reply, which is of type `replyType`. A reply that can't be read says
   * nothing about what was done: `outcome_unknown`.
   */
  async request(
    incarnation: number,
    frame: Uint8Array,
    deadlineMs: number,
    replyType: number,
  ): Promise<Uint8Array> {
    const reply = await this.transport.request(incarnation, frame, deadlineMs);
    const header = readReply(() => openFrame(reply));
    this.view.seen(header.revision);
    if (header.type === FRAME_REFUSED) {
      throw readReply(() => errorOfWire(decodeJsonPayload(reply)));
    }
    if (header.type !== replyType) {
      throw new CatchallError("outcome_unknown", "A node answered with another type of message");
    }
    return reply;
  }

  /**
   * Asks in JSON. A refusal by the other side comes back as its error. `frame_damaged` when the question is larger than
   * a frame may be.
   */
  async ask(
    incarnation: number,
    body: unknown,
    options: { readonly deadlineMs: number; readonly hasEffect: boolean },
  ): Promise<Readonly<Record<string, unknown>>> {
    const header = { ...this.header(options.hasEffect), type: FRAME_REQUEST };
    const frame = encodeJsonFrame(header, body);
    if (frame.length > FRAME_BYTES_MAX) {
      throw new CatchallError("frame_damaged", "A message between nodes would be too large");
    }
    const reply = await this.request(incarnation, frame, options.deadlineMs, FRAME_REPLY);
    const answer = readReply(() => decodeJsonPayload(reply));
    if (answer["error"] !== undefined) throw readReply(() => errorOfWire(answer["error"]));
    return answer;
  }
}

/** Runs a parser over a reply; what it can't read has an unknown outcome. */
export function readReply<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new CatchallError("outcome_unknown", "The answer of a node could not be read", { cause });
  }
}
