/**
 * What a start makes of MongoDB: refused credentials and another cluster's data are mistakes of the configuration, which
 * no waiting mends. That it is away is none: what needs it waits for it and says so.
 */

import type { MongoCheckpointStore } from "../checkpoint/mongo-checkpoint-store.ts";
import { CatchallError } from "../model/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { isAccessRefused, type MongoConnection } from "../runtime/mongo-connection.ts";
import { checkMongo } from "../runtime/mongo-server-check.ts";

export interface MongoFinding {
  /** False when it did not answer. */
  readonly isThere: boolean;
  /** Each forbids to use it. */
  readonly problems: readonly string[];
}

export async function examineMongo(mongo: MongoConnection, logger: Logger): Promise<MongoFinding> {
  try {
    const { problems, warnings } = await checkMongo(mongo);
    for (const warning of warnings) logger.warn({ warning }, "MongoDB could be safer");
    return { isThere: true, problems };
  } catch (error) {
    if (isAccessRefused(error)) return { isThere: true, problems: [REFUSED] };
    logger.error({ err: error }, "MongoDB can't be reached; partitions are opened once it can");
    return { isThere: false, problems: [] };
  }
}

/** Errors: CatchallError `conflict` when this node must not use the database, or may not. */
export async function refuseForeignStore(
  store: MongoCheckpointStore,
  logger: Logger,
): Promise<void> {
  try {
    await store.assertOwn();
  } catch (error) {
    if (isAccessRefused(error)) throw new CatchallError("conflict", REFUSED, { cause: error });
    if (error instanceof CatchallError && error.code === "conflict") throw error;
    logger.error({ err: error }, "The checkpoint in MongoDB can't be read yet");
  }
}

const REFUSED =
  "MongoDB refuses what --mongo-url says: user and password must be right, and the user must be allowed to read and write the database named as the cluster";
