/**
 * The one wiring of a cluster node: ports in, one life out. Production and the simulator call it; it chooses no adapter.
 */

import { type Joined, Membership } from "../control-plane/membership.ts";
import { TableKeeper } from "../control-plane/table-keeper.ts";
import { CatchallError } from "../model/errors.ts";
import { ClusterLife } from "./cluster-life.ts";
import type { ClusterHooks, ClusterNode, ClusterPorts, ClusterSettings } from "./cluster-node.ts";

export type { ClusterHooks, ClusterPorts, ClusterSettings };

/** Starts a life. Errors: those of `Membership.join`; `conflict` when another process runs under this node id. */
export async function startClusterNode(
  ports: ClusterPorts,
  settings: ClusterSettings,
  hooks: ClusterHooks,
): Promise<ClusterNode> {
  const { control: store, log, clock, timers, random, logger } = ports;
  const keeper = new TableKeeper({ store, clock, timers, random, logger });
  keeper.start();
  const membership = new Membership({
    ...{ store, keeper, clock, timers, random, logger, log },
    nodeId: settings.nodeId,
    leaseTtlMs: settings.leaseTtlMs,
    partitionCount: settings.partitions,
    initialRule: settings.initialRule,
  });
  let joined: Joined | null = null;
  try {
    joined = await membership.join();
    const twin = await membership.findTwin(joined.incarnation);
    if (twin !== null) {
      throw new CatchallError(
        "conflict",
        `Another process runs as node "${settings.nodeId}": give each its own --node-id`,
      );
    }
    return new ClusterLife({ ports, settings, hooks, keeper, membership, joined });
  } catch (error) {
    // At once, so that nobody gives it ranges while its lease runs out.
    if (joined !== null) await membership.leave(joined);
    joined?.lease.stop();
    keeper.stop();
    throw error;
  }
}
