/** Port: what operators change about the cluster. The embedded node answers what is true for one node. */

import type { DomainName } from "../model/domain-name.ts";
import type { Rule } from "../model/status.ts";
import type {
  ClusterView,
  DomainLocation,
  Readiness,
  RebalancePlan,
  RebalanceProgress,
} from "./ingress.ts";

export interface OperatorControl {
  rule(): Rule;
  /** Makes the rule durable and applies it to every partition; resolves to [from][to] counts. */
  setRule(rule: Rule, by: string): Promise<number[][]>;
  readiness(): Readiness;
  cluster(): ClusterView | Promise<ClusterView>;
  locate(domain: DomainName, hash: number): DomainLocation;
  rebalance(isDryRun: boolean): RebalancePlan | Promise<RebalancePlan>;
  rebalanceProgress(id: string): RebalanceProgress | Promise<RebalanceProgress>;
  cancelRebalance(id: string): RebalanceProgress | Promise<RebalanceProgress>;
  drain(node: string): RebalancePlan | Promise<RebalancePlan>;
}
