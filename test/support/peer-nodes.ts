/**
 * Nodes that forward to each other in one process: real partitions over logs in memory, frames over a wire that the
 * test can break, time that the test moves.
 */

import { DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import type { EventKind } from "../../src/model/event.ts";
import { ChangeBroadcast } from "../../src/router/change-broadcast.ts";
import { EventRouter } from "../../src/router/event-router.ts";
import type { EventOutcome } from "../../src/router/ingress.ts";
import { LocalAnswers } from "../../src/router/local-answers.ts";
import type { OperatorControl } from "../../src/router/operator-control.ts";
import { PeerHandler, type PeerQuery } from "../../src/router/peer-handler.ts";
import { PeerLink } from "../../src/router/peer-link.ts";
import { PeerRequests } from "../../src/router/peer-requests.ts";
import { Router } from "../../src/router/router.ts";
import { SubBatchForwarder } from "../../src/router/sub-batch-forwarder.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { FakeOwnership, Wire } from "./fake-ownership.ts";
import { type TestNode, TestWorld } from "./test-node.ts";
import { VirtualTimers } from "./virtual-timers.ts";

export interface PeerNode {
  readonly view: FakeOwnership;
  readonly world: TestWorld;
  /** Its partitions; all are open until the test closes them. */
  readonly owner: TestNode;
  readonly link: PeerLink;
  readonly handler: PeerHandler;
  readonly requests: PeerRequests;
  readonly router: Router;
  /** What this node says of itself; null while it serves. */
  refusal: CatchallError | null;
  /** What it says of the servers between the nodes; null while they are there. */
  outage: CatchallError | null;
  send(domain: string, kind: EventKind, id?: string): Promise<EventOutcome>;
}

export class PeerNodes {
  readonly timers: VirtualTimers = new VirtualTimers();
  readonly wire: Wire = new Wire();
  readonly nodes: Map<number, PeerNode> = new Map();
  readonly queries: Map<string, PeerQuery> = new Map();

  /** Nodes 1 … `count`; `owners`: of each partition. */
  static async start(count: number, owners: readonly number[]): Promise<PeerNodes> {
    const cluster = new PeerNodes();
    for (let incarnation = 1; incarnation <= count; incarnation++) {
      await cluster.#join(incarnation, owners);
    }
    return cluster;
  }

  node(incarnation: number): PeerNode {
    return this.nodes.get(incarnation) as PeerNode;
  }

  /** Runs work while time passes. */
  async during<T>(work: Promise<T>, ms = 10_000): Promise<T> {
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    done.catch(() => undefined);
    for (let passed = 0; passed < ms && !isDone; passed += 5) await this.timers.advance(5);
    return done;
  }

  async #join(incarnation: number, owners: readonly number[]): Promise<void> {
    const world = new TestWorld();
    world.incarnation = incarnation - 1;
    const owner = await world.start({ partitions: owners.length, nodeId: `n${incarnation}` });
    const { host } = owner.assembled;
    for (const [partition, who] of owners.entries()) {
      if (who !== incarnation) host.close(partition);
    }
    const view = new FakeOwnership(incarnation, [...owners]);
    const link = new PeerLink(view, this.wire.end(incarnation));
    const { timers } = this;
    const local = new LocalAnswers({ host, nodeId: `n${incarnation}`, clock: timers });
    const handler = new PeerHandler({ link, local, queries: this.queries });
    handler.serve();
    const forwarder = new SubBatchForwarder({
      link,
      host,
      timers,
      observer: { frameSent: () => undefined, resync: () => undefined },
    });
    const requests = new PeerRequests({
      link,
      local,
      clock: timers,
      timers,
      refusal: () => node.refusal,
      outage: () => node.outage,
    });
    const events = new EventRouter({
      partitions: owners.length,
      producer: incarnation,
      pendingEventsMax: 100_000,
      timers,
      refusal: () => null,
      deliver: (partition, batch) => forwarder.deliver(partition, batch),
      expire: (partition) => forwarder.expire(partition),
      rejected: () => undefined,
    });
    const router = new Router({
      nodeId: `n${incarnation}`,
      host,
      answers: requests,
      broadcast: new ChangeBroadcast({ link, timers, logger: SILENT_LOGGER }),
      events,
      control: {} as unknown as OperatorControl,
      clock: timers,
      timers,
      logger: SILENT_LOGGER,
      pendingEventsMax: 100_000,
      refusal: () => null,
    });
    // The partitions announce to the router that the assembly made.
    owner.assembled.router.announce = (change) => router.announce(change);
    const node: PeerNode = {
      view,
      world,
      owner,
      link,
      handler,
      requests,
      router,
      refusal: null,
      outage: null,
      send: (domain, kind, id) => this.#send(router, { domain, kind, id: id ?? null }),
    };
    this.nodes.set(incarnation, node);
  }

  #send(
    router: Router,
    event: { readonly domain: string; readonly kind: EventKind; readonly id: string | null },
  ): Promise<EventOutcome> {
    const parser = new DomainParser();
    if (parser.parseText(event.domain, false) !== null) throw new CatchallError("bad_request");
    return this.during(
      new Promise((resolve) => {
        const reply = { settled: (_index: number, outcome: EventOutcome) => resolve(outcome) };
        router.submit(parser, event.kind, 1, event.id, reply, 0);
      }),
    );
  }
}
