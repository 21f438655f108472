/**
 * Deadlines without a timer per request: an intrusive list in order of arrival, since all its entries wait equally long.
 * Adding and removing are a few pointer writes; a coarse tick takes the expired ones from the head.
 * Invariant: ticks never go back, so the entry that expires first is the head.
 */

export interface DeadlineEntry {
  deadlineTick: number;
  deadlineList: DeadlineList | null;
  deadlinePrevious: DeadlineEntry | null;
  deadlineNext: DeadlineEntry | null;
  /** Called once, after the entry was taken out of `list`. */
  onDeadline(list: DeadlineList): void;
}

export class DeadlineList {
  count: number = 0;
  private head: DeadlineEntry | null = null;
  private tail: DeadlineEntry | null = null;
  private tick: number = 0;
  private readonly delayTicks: number;

  /** Entries expire after more than `delayTicks` and at most one tick later. */
  constructor(delayTicks: number) {
    this.delayTicks = delayTicks;
  }

  /** Starts the wait of an entry that is in no list. */
  add(entry: DeadlineEntry): void {
    entry.deadlineTick = this.tick + this.delayTicks;
    entry.deadlineList = this;
    entry.deadlinePrevious = this.tail;
    if (this.tail === null) this.head = entry;
    else this.tail.deadlineNext = entry;
    this.tail = entry;
    this.count += 1;
  }

  /** Ends the wait; the entry must be in this list. */
  remove(entry: DeadlineEntry): void {
    const previous = entry.deadlinePrevious;
    const next = entry.deadlineNext;
    if (previous === null) this.head = next;
    else previous.deadlineNext = next;
    if (next === null) this.tail = previous;
    else next.deadlinePrevious = previous;
    entry.deadlinePrevious = null;
    entry.deadlineNext = null;
    entry.deadlineList = null;
    this.count -= 1;
  }

  /** One tick has passed: takes out what is due. */
  advance(): void {
    this.tick += 1;
    while (this.head !== null && this.head.deadlineTick < this.tick) {
      const entry = this.head;
      this.remove(entry);
      entry.onDeadline(this);
    }
  }
}
