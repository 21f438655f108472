/** An ownership view and a transport that the test moves by hand. */

import { CatchallError } from "../../src/model/errors.ts";
import type { ClusterMember, OwnershipView } from "../../src/router/ownership-view.ts";
import type { FrameHandler, Transport } from "../../src/transport/transport.ts";

export class FakeOwnership implements OwnershipView {
  readonly self: number;
  readonly isAlone = false;
  revision = 1;
  readonly owners: number[];
  readonly seenRevisions: number[] = [];
  readonly #listeners: Set<() => void> = new Set();

  constructor(self: number, owners: number[]) {
    this.self = self;
    this.owners = owners;
  }

  ownerOf(partition: number): number {
    return this.owners[partition] ?? 0;
  }

  nodeIdOf(incarnation: number): string | null {
    return incarnation === 0 ? null : `n${incarnation}`;
  }

  members(): readonly ClusterMember[] {
    return [...new Set([this.self, ...this.owners])]
      .filter((incarnation) => incarnation !== 0)
      .sort((a, b) => a - b)
      .map((incarnation) => ({ incarnation, nodeId: `n${incarnation}` }));
  }

  seen(revision: number): void {
    this.seenRevisions.push(revision);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  move(partition: number, owner: number): void {
    this.owners[partition] = owner;
    this.revision++;
    for (const listener of this.#listeners) listener();
  }
}

/** One request that the test answers. */
export interface HeldRequest {
  readonly incarnation: number;
  readonly frame: Uint8Array;
  readonly deadlineMs: number;
  readonly reply: (frame: Uint8Array) => void;
  readonly fail: (error: CatchallError) => void;
}

export class FakeTransport implements Transport {
  readonly self: number;
  readonly requests: HeldRequest[] = [];
  readonly told: Uint8Array[] = [];
  /** Answers requests as they come, when set. */
  onRequest: ((request: HeldRequest) => void) | null = null;

  constructor(self: number) {
    this.self = self;
  }

  request(incarnation: number, frame: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const request = { incarnation, frame, deadlineMs, reply: resolve, fail: reject };
      this.requests.push(request);
      this.onRequest?.(request);
    });
  }

  serve(): void {
    // Nobody asks it.
  }

  broadcast(frame: Uint8Array): void {
    this.told.push(frame);
  }

  onBroadcast(): void {
    // Nobody tells it.
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

/** Transports of several incarnations in one process. Frames are copied, as a network does. */
export class Wire {
  readonly #handlers: Map<number, FrameHandler> = new Map();
  readonly #listeners: ((frame: Uint8Array) => void)[] = [];
  /** Frames that were sent, by destination; the test may fail or change them. */
  readonly sent: { readonly to: number; readonly frame: Uint8Array }[] = [];
  /** Called with each reply; null loses it. */
  onReply: (to: number, reply: Uint8Array) => Uint8Array | null = (_to, reply) => reply;

  end(incarnation: number): Transport {
    return {
      self: incarnation,
      request: async (to, frame) => {
        const handler = this.#handlers.get(to);
        if (handler === undefined) throw new CatchallError("no_responder");
        const copy = frame.slice();
        this.sent.push({ to, frame: copy });
        let reply: Uint8Array | null = null;
        try {
          reply = this.onReply(to, await handler(copy));
        } catch {
          // No reply.
        }
        if (reply === null) throw new CatchallError("outcome_unknown", "The deadline passed");
        return reply.slice();
      },
      serve: (handler) => {
        this.#handlers.set(incarnation, handler);
      },
      broadcast: (frame) => {
        for (const listener of this.#listeners) listener(frame.slice());
      },
      onBroadcast: (listener) => {
        this.#listeners.push(listener);
      },
      close: async () => {
        this.#handlers.delete(incarnation);
      },
    };
  }
}
