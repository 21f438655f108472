/**
 * What mail systems report: one domain, one kind, a count. Values only.
 */

/** Numbers, not strings, because they travel in entries; the order is part of the format. */
export const DELIVERED = 0;
export const BOUNCED = 1;
export type EventKind = typeof DELIVERED | typeof BOUNCED;

export const EVENT_KIND_NAMES = ["delivered", "bounced"] as const;
export type EventKindName = (typeof EVENT_KIND_NAMES)[number];

export const EVENT_COUNT_MAX = 1_000_000;
export const EVENT_ID_LENGTH_MAX = 255;

/** True for 1 to 255 visible ASCII characters (0x21 to 0x7e). */
export function isEventId(text: string): boolean {
  if (text.length === 0 || text.length > EVENT_ID_LENGTH_MAX) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x21 || code > 0x7e) return false;
  }
  return true;
}
