/**
 * The control table as bytes: JSON of one format version. Bytes from a store are never trusted: every field and every
 * reference is checked, and a table of another format is refused as a whole (a field that is added needs a new version,
 * else an older node would drop it with its next change).
 */

import type {
  ControlTable,
  LineageStretch,
  Member,
  PartitionAssignment,
  PartitionMove,
  RebalanceRecord,
} from "../model/ownership.ts";
import type { Rule } from "../model/status.ts";
import {
  arrayOf,
  countOf,
  Damage,
  flagOf,
  nonceOf,
  objectOf,
  oneOf,
  type Parsed,
  parseJson,
  textOf,
  toJsonBytes,
} from "./checked-json.ts";
import { tableBreach } from "./table-check.ts";

export const TABLE_FORMAT_VERSION = 1;
/** Bounds of one table; deflated it stays under the payload limit of the servers (nats-kv-value.ts). */
export const PARTITIONS_MAX = 4096;
export const MEMBERS_MAX = 1024;
const LINEAGE_MAX = 1024;
const REBALANCES_MAX = 64;

export function encodeTable(table: ControlTable): Uint8Array {
  return toJsonBytes(table);
}

/** Never throws on bytes; `damage` says what is wrong. */
export function parseTable(bytes: Uint8Array): Parsed<ControlTable> {
  return parseJson(bytes, (value) => {
    const fields = objectOf(value, "table");
    if (fields["formatVersion"] !== TABLE_FORMAT_VERSION) {
      throw new Damage(
        `it is of format ${JSON.stringify(fields["formatVersion"])}, this node knows ` +
          `${TABLE_FORMAT_VERSION}`,
      );
    }
    const table: ControlTable = {
      formatVersion: TABLE_FORMAT_VERSION,
      partitionCount: countOf(fields["partitionCount"], "partitionCount", 1),
      lastIncarnation: countOf(fields["lastIncarnation"], "lastIncarnation"),
      members: arrayOf(fields["members"], "members", MEMBERS_MAX).map(parseMember),
      partitions: arrayOf(fields["partitions"], "partitions", PARTITIONS_MAX).map(parseAssignment),
      initialRule: parseRule(fields["initialRule"]),
      rule: parseRule(fields["rule"]),
      ruleRevision: countOf(fields["ruleRevision"], "ruleRevision"),
      rebalances: arrayOf(fields["rebalances"], "rebalances", REBALANCES_MAX).map(parseRebalance),
      changeNonce: nonceOf(fields["changeNonce"], "changeNonce"),
    };
    const breach = tableBreach(table);
    if (breach !== null) throw new Damage(breach);
    return table;
  });
}

function parseMember(value: unknown): Member {
  const fields = objectOf(value, "member");
  const { endSequence, endedAtMs } = fields;
  return {
    incarnation: countOf(fields["incarnation"], "incarnation", 1),
    nodeId: textOf(fields["nodeId"], "nodeId"),
    joinNonce: nonceOf(fields["joinNonce"], "joinNonce"),
    state: oneOf(fields["state"], "state", ["alive", "dead", "left"]),
    isDraining: flagOf(fields["isDraining"], "isDraining"),
    endSequence: endSequence === null ? null : countOf(endSequence, "endSequence"),
    endedAtMs: endedAtMs === null ? null : countOf(endedAtMs, "endedAtMs"),
  };
}

function parseAssignment(value: unknown): PartitionAssignment {
  const fields = objectOf(value, "partition");
  return {
    owner: countOf(fields["owner"], "owner"),
    epoch: countOf(fields["epoch"], "epoch"),
    lineage: arrayOf(fields["lineage"], "lineage", LINEAGE_MAX).map(parseStretch),
    moveTo: countOf(fields["moveTo"], "moveTo"),
  };
}

function parseStretch(value: unknown): LineageStretch {
  const fields = objectOf(value, "stretch");
  const stretch = {
    epoch: countOf(fields["epoch"], "epoch", 1),
    incarnation: countOf(fields["incarnation"], "incarnation", 1),
    endSequence: countOf(fields["endSequence"], "endSequence"),
  };
  const since = fields["emptySince"];
  return since === undefined
    ? stretch
    : { ...stretch, emptySince: countOf(since, "emptySince", 1) };
}

function parseRule(value: unknown): Rule {
  const fields = objectOf(value, "rule");
  const ratio = fields["maxBounceRatio"];
  if (ratio !== null && (typeof ratio !== "number" || !(ratio >= 0 && ratio <= 1))) {
    throw new Damage('"maxBounceRatio" is not a ratio');
  }
  return {
    deliveredThreshold: countOf(fields["deliveredThreshold"], "deliveredThreshold"),
    bouncedThreshold: countOf(fields["bouncedThreshold"], "bouncedThreshold"),
    maxBounceRatio: ratio,
  };
}

function parseRebalance(value: unknown): RebalanceRecord {
  const fields = objectOf(value, "rebalance");
  return {
    id: textOf(fields["id"], "id"),
    state: oneOf(fields["state"], "state", ["running", "done", "cancelled", "failed"]),
    drains: countOf(fields["drains"], "drains"),
    moves: arrayOf(fields["moves"], "moves", PARTITIONS_MAX).map(parseMove),
    startedAtMs: countOf(fields["startedAtMs"], "startedAtMs"),
    // Records of earlier versions do not have it.
    bytes: countOf(fields["bytes"] ?? 0, "bytes"),
  };
}

function parseMove(value: unknown): PartitionMove {
  const fields = objectOf(value, "move");
  return {
    partition: countOf(fields["partition"], "partition"),
    from: countOf(fields["from"], "from", 1),
    to: countOf(fields["to"], "to", 1),
  };
}
