/**
 * The one definition of what an event object in a bulk body means, for values that JSON.parse made. The scanner of
 * `event-lines.ts` takes the common shapes straight from bytes and must agree with this file (property test).
 * Unknown fields are ignored. The first wrong field in the order type, count, id, domain names the error.
 */

import type { DomainParser } from "../model/domain-name.ts";
import type { ErrorCode } from "../model/errors.ts";
import { BOUNCED, DELIVERED, EVENT_COUNT_MAX, type EventKind, isEventId } from "../model/event.ts";
import { isJsonObject, ownField } from "./json-body.ts";

/** Where readers put the event they stand on. `error` not null: the other fields mean nothing. */
export interface EventFields {
  kind: EventKind;
  count: number;
  eventId: string | null;
  error: ErrorCode | null;
}

/** A cursor over the events of a bulk body. The domain of the current event is in the parser given at construction. */
export interface EventReader extends Readonly<EventFields> {
  /** Moves to the next event; false at the end. */
  next(): boolean;
  /** Number of the current event from 0; empty lines do not count. */
  readonly index: number;
}

/** Parses `value` into `fields` and its domain into `domain`. Never throws. */
export function readEventObject(value: unknown, fields: EventFields, domain: DomainParser): void {
  fields.count = 1;
  fields.eventId = null;
  fields.error = errorOfEvent(value, fields, domain);
}

function errorOfEvent(value: unknown, fields: EventFields, domain: DomainParser): ErrorCode | null {
  if (!isJsonObject(value)) return "invalid_event";
  const name = ownField(value, "domain");
  const type = ownField(value, "type");
  if (typeof name !== "string" || typeof type !== "string") return "invalid_event";
  if (type !== "delivered" && type !== "bounced") return "invalid_event_type";
  fields.kind = type === "delivered" ? DELIVERED : BOUNCED;
  const count = ownField(value, "count");
  if (count !== undefined) {
    if (!isEventCount(count)) return "invalid_count";
    fields.count = count;
  }
  const id = ownField(value, "id");
  if (id !== undefined) {
    if (typeof id !== "string" || !isEventId(id)) return "invalid_event_id";
    fields.eventId = id;
  }
  return domain.parseText(name, false);
}

function isEventCount(value: unknown): value is number {
  return (
    typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= EVENT_COUNT_MAX
  );
}

/** Reads the events of a JSON array that was parsed as a whole. */
export class EventArrayReader implements EventReader, EventFields {
  kind: EventKind = DELIVERED;
  count = 1;
  eventId: string | null = null;
  error: ErrorCode | null = null;
  index = -1;
  readonly #values: readonly unknown[];
  readonly #domain: DomainParser;

  constructor(values: readonly unknown[], domain: DomainParser) {
    this.#values = values;
    this.#domain = domain;
  }

  next(): boolean {
    if (this.index + 1 >= this.#values.length) return false;
    this.index++;
    readEventObject(this.#values[this.index], this, this.#domain);
    return true;
  }
}
