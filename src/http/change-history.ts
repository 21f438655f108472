/**
 * The last status changes of this node, in the order in which they were announced, so that a stream can go on where a
 * client left off.
 * Invariant: `after(id)` gives every change that followed `id`, or null when this can't be known: the id is too old, or
 * of another life or another node. Never more than `changesMax` are kept.
 */

import type { StatusChange } from "../model/status-change.ts";

export class ChangeHistory {
  /** The id of the change before the oldest kept; at first one that stands for "before all". */
  #before: string;
  readonly #changesMax: number;
  readonly #changes: StatusChange[] = [];
  /** Where the oldest change is, once the ring is full. */
  #oldest = 0;

  /** `origin` is the place before the first change, as an id; no other history may use it. */
  constructor(changesMax: number, origin: string) {
    this.#changesMax = changesMax;
    this.#before = origin;
  }

  get changesMax(): number {
    return this.#changesMax;
  }

  /** The place of now: the id of the last change, or of the origin. */
  get lastId(): string {
    const count = this.#changes.length;
    return this.#changes[(this.#oldest + count - 1) % count]?.id ?? this.#before;
  }

  add(change: StatusChange): void {
    if (this.#changes.length < this.#changesMax) {
      this.#changes.push(change);
      return;
    }
    const oldest = this.#changes[this.#oldest];
    this.#before = (oldest ?? change).id;
    if (oldest === undefined) return;
    this.#changes[this.#oldest] = change;
    this.#oldest = (this.#oldest + 1) % this.#changesMax;
  }

  /** What followed `id`, oldest first; null when it is not known. */
  after(id: string): StatusChange[] | null {
    const count = this.#changes.length;
    // From the newest back: a client that reconnects missed little.
    for (let back = 1; back <= count; back++) {
      if (this.#at(count - back)?.id === id) return this.#from(count - back + 1);
    }
    return id === this.#before ? this.#from(0) : null;
  }

  #from(first: number): StatusChange[] {
    const changes: StatusChange[] = [];
    for (let place = first; place < this.#changes.length; place++) {
      changes.push(this.#at(place) as StatusChange);
    }
    return changes;
  }

  #at(place: number): StatusChange | undefined {
    return this.#changes[(this.#oldest + place) % this.#changes.length];
  }
}
