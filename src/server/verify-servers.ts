/**
 * What a cluster has stored, on its real servers, opened to be read: for `catchall verify`. Finds the cluster before it
 * opens anything, so that a name that is wrong makes nothing there.
 */

import { hostname } from "node:os";
import { MongoCheckpointStore } from "../checkpoint/mongo-checkpoint-store.ts";
import type { Config } from "../config/config-type.ts";
import { controlStream, NatsKvControlStore } from "../control-plane/nats-kv-control-store.ts";
import { CatchallError } from "../model/errors.ts";
import { MongoConnection } from "../runtime/mongo-connection.ts";
import { NodeClock } from "../runtime/node-clock.ts";
import { NodeRandom } from "../runtime/node-random.ts";
import { connectNats } from "../transport/nats-connection.ts";
import { JetStreamNodeLog } from "../wal/jetstream-node-log.ts";
import { checkStream } from "../wal/jetstream-server-check.ts";
import {
  recountCluster,
  type VerifiedCluster,
  type VerifyClusterOptions,
  verifyCluster,
} from "./verify-cluster.ts";

/** A difference must be seen so often. */
const ROUNDS = 3;
/** An owner applies an entry as soon as it hears that it is stored. */
const PAUSE_MS = 1000;

/** Errors: those of {@link verifyCluster}; `conflict` when there is no such cluster. */
export async function verifyServers(
  config: Config,
  readAll: VerifyClusterOptions["readAll"],
): Promise<VerifiedCluster> {
  const { natsUrl, mongoUrl, clusterName, walReplicas: replicas } = config;
  if (natsUrl === null || mongoUrl === null) {
    throw new CatchallError("conflict", "A cluster has --nats-url and --mongo-url");
  }
  const name = `verify-${hostname()}-${process.pid}`;
  const requests = await connectNats({ ...config, natsUrl }, name);
  const connection = new MongoConnection({ mongoUrl, database: clusterName, name });
  const random = new NodeRandom();
  try {
    if ((await checkStream(requests, controlStream(clusterName), 1)) === null) {
      throw new CatchallError("conflict", `There is no cluster "${clusterName}" on these servers`);
    }
    const control = await NatsKvControlStore.open(requests, { clusterName, replicas });
    const logOptions = { clusterName, replicas, logBytesMax: null, clock: new NodeClock(), random };
    const log = await JetStreamNodeLog.open(requests, logOptions);
    const checkpoints = new MongoCheckpointStore({ connection, storeId: log.storeId });
    return await verifyCluster({
      recount: () => recountCluster({ control, log, checkpoints, random }),
      readAll,
      pause: () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS)),
      rounds: ROUNDS,
    });
  } finally {
    await Promise.all([requests.close(), connection.close()]);
  }
}
