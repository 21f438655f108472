/**
 * The cluster as a target: one nats-server, one mongod and three nodes, which take the connections in equal shares, so
 * that two thirds of the events are forwarded. Its CPU time and memory are those of all server processes.
 */
import { ClusterRig } from "../../test/support/cluster-rig.ts";
import type { Target } from "./targets.ts";

const NODES = ["n1", "n2", "n3"] as const;
export const LEASE_TTL_MS = 5000;

/** `flags` are those of each node. */
export function startRig(
  flags: readonly string[] = [],
  nodes: readonly string[] = NODES,
): Promise<ClusterRig> {
  return ClusterRig.start({
    nodes,
    leaseTtlMs: LEASE_TTL_MS,
    flags: ["--log-level", "warn", "--checkpoint-interval", "60s", ...flags],
  });
}

export async function startCluster(flags: readonly string[] = []): Promise<Target> {
  return targetOf(await startRig(flags));
}

/** Of the nodes that run now, by name: counts are read through the first, which is none that a part kills. */
export function targetOf(rig: ClusterRig): Target {
  const nodes = rig.running.toSorted();
  return {
    url: nodes.map((id) => rig.url(id)).join(","),
    pids: [rig.nats.pid, rig.mongod.pid, ...nodes.map((id) => rig.node(id).pid)],
    stop: () => rig.dispose(),
  };
}
