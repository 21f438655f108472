/**
 * Adapter: the newest status of each domain as a document that people query. Written from changes only, never from
 * events, so a few times in the life of a domain; put if newer, so that repeats and late ones do no harm.
 *
 *   statuses  {_id: domain, status, since: date, delivered, bounced, changeId, v: [epoch, sequence, index]}
 *
 * Counts are those right after the change; the exact ones of now are the service's to tell. The domain is a value here
 * and never the name of a field.
 */

import type { Collection, Document } from "mongodb";
import type { StatusChange } from "../model/status-change.ts";
import { isDuplicateKey, type MongoConnection } from "../runtime/mongo-connection.ts";
import type { ChangeSink } from "./change-outbox.ts";
import { orderOf } from "./status-change.ts";

/** Two first writes of one document meet once; then it is there. */
const DUPLICATE_TRIES_MAX = 3;

interface StatusDocument extends Document {
  readonly _id: string;
}

export class MongoStatusesSink implements ChangeSink {
  readonly name = "statuses";
  /** MongoDB away must never stop ingestion. */
  readonly isRequired = false;
  /**
   * Each call is a synced write: without a pause mongod takes 0.9 µs of an event of 6.0 in bulk, with one of 100 ms 0.25
   * of 3.6. The node itself takes a millisecond a call: with 100 ms 1.5 µs of a single event of 65.
   */
  readonly pauseMs = 500;
  readonly #connection: MongoConnection;
  readonly #statuses: Collection<StatusDocument>;

  constructor(connection: MongoConnection) {
    this.#connection = connection;
    this.#statuses = connection.collection<StatusDocument>("statuses");
  }

  /** Errors: CatchallError `checkpoint_unavailable`. */
  async store(changes: readonly StatusChange[]): Promise<void> {
    // Changes of one domain come in order: the last one is what stays.
    const newest = new Map(changes.map((change) => [change.domain, change]));
    const operations = [...newest.values()].map(putIfNewer);
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#connection.call("store statuses", () => {
          return this.#statuses.bulkWrite(operations, { ordered: false });
        });
        return;
      } catch (error) {
        if (!isDuplicateKey(error) || attempt === DUPLICATE_TRIES_MAX) throw error;
      }
    }
  }
}

function putIfNewer(change: StatusChange) {
  const { domain, to: status, delivered, bounced, id: changeId } = change;
  const v = [...orderOf(change)];
  const since = new Date(change.at);
  const document = { _id: domain, status, since, delivered, bounced, changeId, v };
  const isNewer = { $lte: ["$v", { $literal: v }] };
  const update = [{ $replaceWith: { $cond: [isNewer, { $literal: document }, "$$ROOT"] } }];
  return { updateOne: { filter: { _id: domain }, update, upsert: true } };
}
