/**
 * Adapter: identity of a cluster's logs, a random number in a stream of one message, put there once under the stream's
 * own fence. It seeds every checksum chain, so logs of another cluster, or of a store that was made anew, never fit.
 * Must never be made anew while it can't be read.
 */

import { CatchallError } from "../model/errors.ts";
import { natsHeaders } from "../runtime/nats-requests.ts";
import type { Random } from "../runtime/random.ts";
import { type JetStreamApi, parseJson, STREAM_NAME_IN_USE } from "./jetstream-api.ts";
import { streamConfig } from "./jetstream-stream-config.ts";
import { logNames } from "./jetstream-stream-names.ts";

const STORE_FORMAT = 1;
const PUT_TIMEOUT_MS = 5000;
const TRIES_MAX = 4;

/** Errors: CatchallError `log_unavailable`, `log_damaged`; `conflict` when the names belong to another cluster. */
export async function openStoreId(
  api: JetStreamApi,
  clusterName: string,
  replicas: number,
  random: Random,
): Promise<number> {
  const { storeStream, storeSubject } = logNames(clusterName);
  for (let tries = 1; ; tries += 1) {
    const message = await api.message(storeStream, { seq: 1 });
    if (message !== null) return parseStore(message.data, clusterName);
    if (tries === TRIES_MAX) throw api.failure("The identity of the logs could not be stored");
    const config = { ...streamConfig(storeStream, storeSubject, replicas), deny_purge: true };
    const created = await api.call(`STREAM.CREATE.${storeStream}`, config);
    // In use: with another number of replicas, perhaps; the message decides.
    if (created.kind === "error" && created.error !== STREAM_NAME_IN_USE) {
      const message = `NATS does not create ${storeStream}: ${created.description}`;
      throw api.failure(message);
    }
    const store = { format: STORE_FORMAT, storeId: random.uint32(), cluster: clusterName };
    const headers = natsHeaders({
      "Nats-Expected-Last-Sequence": "0",
      "Nats-Expected-Stream": storeStream,
    });
    // Whatever the outcome, what lies there afterwards counts.
    await api.requests.request(
      storeSubject,
      Buffer.from(JSON.stringify(store)),
      PUT_TIMEOUT_MS,
      headers,
    );
  }
}

function parseStore(bytes: Uint8Array, clusterName: string): number {
  const store = parseJson(bytes);
  const storeId = store?.["storeId"];
  if (
    store?.["format"] !== STORE_FORMAT ||
    typeof storeId !== "number" ||
    storeId >>> 0 !== storeId
  ) {
    throw new CatchallError("log_damaged", "The identity of the logs is not of a known format");
  }
  if (store["cluster"] !== clusterName) {
    const message = `The streams belong to cluster "${String(store["cluster"])}", not "${clusterName}"`;
    throw new CatchallError("conflict", message);
  }
  return storeId;
}
