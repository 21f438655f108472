/** A stream of events that names every domain once, in order of its number: all of them new to the node. */
import { type EventStream, UNKEYED } from "../../src/cli/load/mixes.ts";
import { DELIVERED, type EventKind } from "../../src/model/event.ts";

export class EachDomainOnce implements EventStream {
  domain = -1;
  readonly kind: EventKind = DELIVERED;
  readonly key: number = UNKEYED;
  next(): void {
    this.domain++;
  }
}
