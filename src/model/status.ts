/**
 * The classification rule and its answer. Pure: counts in, status out.
 */

/** Numbers are stored in the counter table and in pages; 0 means "never seen". */
export const STATUS_UNSEEN = 0;
export const STATUS_UNKNOWN = 1;
export const STATUS_CATCH_ALL = 2;
export const STATUS_NOT_CATCH_ALL = 3;
export type StatusCode = 0 | 1 | 2 | 3;

export const STATUS_NAMES = ["unknown", "unknown", "catch-all", "not catch-all"] as const;
export type StatusName = "unknown" | "catch-all" | "not catch-all";

export function statusCodeOf(name: StatusName): StatusCode {
  if (name === "catch-all") return STATUS_CATCH_ALL;
  return name === "not catch-all" ? STATUS_NOT_CATCH_ALL : STATUS_UNKNOWN;
}

/** `maxBounceRatio`: bounced / (bounced + delivered) up to which bounces are forgiven; null forgives none. */
export interface Rule {
  readonly deliveredThreshold: number;
  readonly bouncedThreshold: number;
  readonly maxBounceRatio: number | null;
}

export const DEFAULT_RULE: Rule = {
  deliveredThreshold: 1000,
  bouncedThreshold: 1,
  maxBounceRatio: null,
};

/** bounced ≥ threshold (and over the ratio, where one is set) → not; delivered > threshold → catch-all; else unknown. */
export function classify(rule: Rule, delivered: number, bounced: number): StatusCode {
  if (bounced >= rule.bouncedThreshold && isOverBounceRatio(rule, delivered, bounced)) {
    return STATUS_NOT_CATCH_ALL;
  }
  return delivered > rule.deliveredThreshold ? STATUS_CATCH_ALL : STATUS_UNKNOWN;
}

function isOverBounceRatio(rule: Rule, delivered: number, bounced: number): boolean {
  if (rule.maxBounceRatio === null) return true;
  return bounced > rule.maxBounceRatio * (bounced + delivered);
}

/** The sentence that `GET /domains/{domain}` answers as its reason. */
export function reasonOf(rule: Rule, delivered: number, bounced: number): string {
  const sign = delivered > rule.deliveredThreshold ? ">" : "<=";
  const ratio = ratioText(rule, delivered, bounced);
  if (classify(rule, delivered, bounced) === STATUS_NOT_CATCH_ALL) {
    return `bounced ${bounced} >= ${rule.bouncedThreshold}, delivered ${delivered}${ratio}`;
  }
  return `delivered ${delivered} ${sign} ${rule.deliveredThreshold}, bounced ${bounced}${ratio}`;
}

/** What the share of bounces had to do with it: nothing, unless the rule has a limit and there were enough of them. */
function ratioText(rule: Rule, delivered: number, bounced: number): string {
  if (rule.maxBounceRatio === null || bounced < rule.bouncedThreshold || bounced === 0) return "";
  const sign = isOverBounceRatio(rule, delivered, bounced) ? ">" : "<=";
  const share = (bounced / (bounced + delivered)).toPrecision(3);
  return `, share of bounces ${share} ${sign} ${rule.maxBounceRatio}`;
}
