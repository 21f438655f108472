/**
 * Adapter: what the MongoDB servers promise about what they acknowledge, as values for start-up, `/readyz` and log.
 * Says what it does not know; never rejects for what it finds.
 */

import type { Document } from "mongodb";
import type { MongoConnection } from "./mongo-connection.ts";

const MAJOR_VERSION_MIN = 6;

/** `standalone`: a write is on one disk only, and there is nobody to fail over to. */
export type MongoTopology = "replica set" | "standalone" | "sharded";

export interface MongoReport {
  readonly version: string;
  readonly topology: MongoTopology;
  /** Members of the replica set that hold data; 1 when it stands alone, null when the router does not tell. */
  readonly memberCount: number | null;
  /** Each forbids to use it. */
  readonly problems: readonly string[];
  /** Each is worth a line in the log. */
  readonly warnings: readonly string[];
}

/** Errors: CatchallError `checkpoint_unavailable` when it does not answer in time. */
export async function checkMongo(connection: MongoConnection): Promise<MongoReport> {
  const admin = connection.client.db("admin");
  const hello = await connection.call("tell what it is", () => admin.command({ hello: 1 }));
  const build = await connection.call("tell its version", () => admin.command({ buildInfo: 1 }));
  const version = String(build["version"]);
  const topology = topologyOf(hello);
  const memberCount = membersOf(hello, topology);
  const problems: string[] = [];
  const warnings: string[] = [];
  if (!(Number(version.split(".")[0]) >= MAJOR_VERSION_MIN)) {
    problems.push(`mongod ${version} is older than ${MAJOR_VERSION_MIN}.0: upgrade it`);
  }
  if (hello["readOnly"] === true) problems.push("MongoDB is read-only");
  if (topology === "standalone") {
    warnings.push("MongoDB is no replica set: checkpoints are on one disk and it cannot fail over");
  } else if (memberCount !== null && memberCount < 3) {
    warnings.push(`The replica set of MongoDB has ${memberCount} members, three survive a loss`);
  }
  return { version, topology, memberCount, problems, warnings };
}

function topologyOf(hello: Document): MongoTopology {
  if (hello["msg"] === "isdbgrid") return "sharded";
  return typeof hello["setName"] === "string" ? "replica set" : "standalone";
}

function membersOf(hello: Document, topology: MongoTopology): number | null {
  if (topology === "sharded") return null;
  if (topology === "standalone") return 1;
  const count = (list: unknown): number => (Array.isArray(list) ? list.length : 0);
  return count(hello["hosts"]) + count(hello["passives"]);
}
