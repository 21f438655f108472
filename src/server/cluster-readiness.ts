/** Whether a cluster node may receive traffic, and the sentences that say why not (`/readyz`). */

import { type ControlTable, NOBODY } from "../model/ownership.ts";
import type { Readiness } from "../router/ingress.ts";
import type { ClusterSettings } from "./cluster-node.ts";
import type { ServiceGate } from "./service-gate.ts";

export interface ReadinessFacts {
  readonly settings: ClusterSettings;
  readonly table: ControlTable | undefined;
  /** Why the newest table can't be used, such as one of a newer version; null when it can. */
  readonly tableDamage: string | null;
  readonly gate: ServiceGate;
  readonly isLeaving: boolean;
  readonly leaseRemainingMs: number;
  readonly isLogStalled: boolean;
  /** Why partitions of this node are not open; null when none fails. */
  readonly openFailure: string | null;
  readonly openCount: number;
}

export function readinessOf(facts: ReadinessFacts): Readiness {
  const { settings, table, gate, leaseRemainingMs, openFailure, openCount } = facts;
  const reasons = [...gate.reasons()];
  if (facts.isLeaving && reasons.length === 0) reasons.push("The node is shutting down");
  if (leaseRemainingMs <= 0) reasons.push("The lease of this node is not valid");
  if (facts.isLogStalled) reasons.push("The write-ahead log does not answer");
  if (table === undefined) {
    reasons.push("The control table is not known");
  } else if (table.partitions.some(({ owner }) => owner === NOBODY)) {
    reasons.push(`Partitions are assigned once ${settings.expectNodes} nodes have joined`);
  }
  if (facts.tableDamage !== null) reasons.push(facts.tableDamage);
  // It fails only for what this node owns.
  if (openFailure !== null && openCount === 0) {
    reasons.push(`None of the partitions of this node can be opened: ${openFailure}`);
  }
  return {
    ready: reasons.length === 0,
    reasons,
    checks: {
      state: gate.state,
      mode: "cluster",
      log: `${settings.log.kind}, ${settings.log.synced ? SYNCED : NOT_SYNCED}`,
      lease: `${Math.round(leaseRemainingMs)} ms left`,
      partitions: openFailure === null ? `${openCount} open here` : `not open: ${openFailure}`,
    },
  };
}

const SYNCED = "synced before each answer";
const NOT_SYNCED =
  "NOT known to be synced before each answer: a power cut can lose what was acknowledged";
