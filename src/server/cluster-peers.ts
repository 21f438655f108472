/**
 * What the nodes of a cluster ask each other besides events and readings: how far a log is, the release of a partition,
 * what a node says about itself. Both ends, so that the questions and their answers stand side by side.
 */

import { CatchallError } from "../model/errors.ts";
import type { PeerQuery } from "../router/peer-handler.ts";
import type { Fields } from "../router/peer-messages.ts";
import type { PeerRequests } from "../router/peer-requests.ts";
import type { ControlPeers, NodeView } from "./cluster-control.ts";
import type { MoveRequest, OwnershipPeers } from "./ownership-ports.ts";

const COMMITTED_SEQUENCE = "committedSequence";
const CHECKPOINT = "checkpoint";
const RELEASE = "release";
const NODE_VIEW = "nodeView";
/** A silent node must not hold up the view of all others. */
const NODE_VIEW_LIMIT_MS = 1000;
/** A move goes on without the owner's checkpoint after this long: a periodic one of many pages may stand before it. */
const CHECKPOINT_LIMIT_MS = 2000;

export interface PeerAnswers {
  committedSequence(): number;
  prepare(request: MoveRequest): Promise<void>;
  release(request: MoveRequest): Promise<number>;
  nodeView(): NodeView;
}

/** The answering end, by name of the question. */
export function peerQueries(answers: PeerAnswers): ReadonlyMap<string, PeerQuery> {
  return new Map<string, PeerQuery>([
    [COMMITTED_SEQUENCE, async () => answers.committedSequence()],
    [NODE_VIEW, async () => answers.nodeView()],
    [
      CHECKPOINT,
      async (body) => {
        await answers.prepare(moveRequestOf(body));
        return true;
      },
    ],
    [RELEASE, async (body) => answers.release(moveRequestOf(body))],
  ]);
}

/** The asking end. */
export class ClusterPeers implements OwnershipPeers, Pick<ControlPeers, "nodeView"> {
  readonly #self: number;
  readonly #requests: PeerRequests;
  readonly #own: () => NodeView;

  constructor(options: {
    readonly self: number;
    readonly requests: PeerRequests;
    readonly own: () => NodeView;
  }) {
    this.#self = options.self;
    this.#requests = options.requests;
    this.#own = options.own;
  }

  async committedSequence(incarnation: number): Promise<number> {
    const value = await this.#requests.query(incarnation, COMMITTED_SEQUENCE, {});
    if (!isCount(value)) throw damagedQuestion();
    return value;
  }

  async askCheckpoint(incarnation: number, move: MoveRequest): Promise<void> {
    await this.#requests.query(incarnation, CHECKPOINT, { ...move }, CHECKPOINT_LIMIT_MS);
  }

  async askRelease(incarnation: number, move: MoveRequest): Promise<number> {
    const value = await this.#requests.query(incarnation, RELEASE, { ...move });
    if (!isCount(value)) throw damagedQuestion();
    return value;
  }

  async nodeView(incarnation: number): Promise<NodeView | null> {
    if (incarnation === this.#self) return this.#own();
    try {
      const value = await this.#requests.query(incarnation, NODE_VIEW, {}, NODE_VIEW_LIMIT_MS);
      return isNodeView(value) ? value : null;
    } catch {
      // A node that does not answer is shown without what only it knows.
      return null;
    }
  }
}

function moveRequestOf(body: Fields): MoveRequest {
  const [partition, epoch, to] = [body["partition"], body["epoch"], body["to"]];
  if (!isCount(partition) || !isCount(epoch) || !isCount(to)) throw damagedQuestion();
  return { partition, epoch, to };
}

function isNodeView(value: unknown): value is NodeView {
  const view = value as Partial<NodeView> | null;
  return (
    typeof view?.leaseRemainingMs === "number" &&
    typeof view.walLagEvents === "number" &&
    typeof view.logSizeBytes === "number" &&
    Array.isArray(view.states)
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function damagedQuestion(): CatchallError {
  return new CatchallError("frame_damaged", "A question between nodes does not have its shape");
}
