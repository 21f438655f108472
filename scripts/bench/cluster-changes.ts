/** What happens to a cluster while it is measured: partitions that move, nodes that come back, checkpoints. */
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";
import { type ClusterRig, until } from "../../test/support/cluster-rig.ts";

const MOVE_LIMIT_MS = 120_000;
/** Between the return of a node and the moves to it. */
const MEMBER_LIMIT_MS = 30_000;
const CHECKPOINT_LIMIT_MS = 600_000;

/** Whom the rig asks. */
function askedOf(rig: ClusterRig): string {
  return rig.running[0] ?? "";
}

/** What a client saw, and how long the change took. */
export interface Disturbed {
  readonly outcome: LoadOutcome;
  readonly tookMs: number;
}

/** Starts a load and, after `leadMs`, a change; resolves when both are over. `ended`: the change is over, or failed. */
export async function during(
  leadMs: number,
  load: (ended: AbortSignal) => Promise<LoadOutcome>,
  change: () => Promise<unknown>,
): Promise<Disturbed> {
  const ending = new AbortController();
  const changing = async (): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, leadMs));
    const startMs = performance.now();
    try {
      await change();
      return performance.now() - startMs;
    } finally {
      ending.abort();
    }
  };
  const [outcome, tookMs] = await Promise.all([load(ending.signal), changing()]);
  return { outcome, tookMs };
}

/** Has partitions moved by a request; resolves when they have. Errors: there was nothing to move, a move that failed. */
export async function move(rig: ClusterRig, path: string, request?: object): Promise<void> {
  const asked = askedOf(rig);
  const { status, body } = await rig.ask(asked, "POST", path, request);
  if (status >= 300) throw new Error(`No move: ${JSON.stringify(body)}`);
  const { state } = await rig.movesEnded(asked, (body as { id: string }).id, MOVE_LIMIT_MS);
  if (state !== "done") throw new Error(`The moves ended as "${state}"`);
}

/** Starts a node again that was killed, and gives it its share of the partitions. */
export async function bringBack(rig: ClusterRig, node: string): Promise<void> {
  await rig.startNode(node);
  await until(`${node} is a member`, MEMBER_LIMIT_MS, async () => {
    const { nodes } = await rig.cluster();
    return nodes.some(({ id, state }) => id === node && state === "alive") ? true : null;
  });
  await move(rig, "/cluster/rebalance", {});
}

/** Takes all partitions from a node, then ends it. */
export async function takeAway(rig: ClusterRig, node: string): Promise<void> {
  await move(rig, `/cluster/nodes/${node}/drain`);
  await rig.stop(node);
}

/** Resolves when nothing is in the log of a living node that is not in a checkpoint. */
export async function checkpointed(rig: ClusterRig): Promise<void> {
  await until("everything is in a checkpoint", CHECKPOINT_LIMIT_MS, async () => {
    const { nodes } = await rig.cluster();
    const alive = nodes.filter(({ state }) => state === "alive");
    // A node that does not answer in time has no age.
    const isWritten = alive.every(
      ({ walLagEvents, checkpointAgeMs }) => walLagEvents === 0 && checkpointAgeMs !== null,
    );
    return isWritten ? true : null;
  });
}
