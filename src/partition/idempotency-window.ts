/**
 * Which keys were counted, and for how long that is promised. Keys lie in buckets by the time of their entry; a whole
 * bucket is forgotten once its youngest possible key is older than the window and the step that entry time may take at
 * once, so a key counts once for at least the window, whatever the wall clock does, and at most two minutes longer.
 * Invariant: only applied (durable) keys are here; keys in flight are the actor's `pendingKeys`.
 * A bucket is open addressing over five words a key (16-byte key, fingerprint, never 0): 29 to 57 bytes a key.
 */

import { WALL_LEAP_MS_MAX } from "../commit/entry-time.ts";
import { CatchallError } from "../model/errors.ts";

const WORDS = 5;
/** Fixed, so that buckets of an earlier life expire right under another window. */
const BUCKET_MS = 60_000;
const SLOTS_MIN = 64;
const LOAD_MAX = 0.7;
/** From the start of a bucket until it may be forgotten, less the window. */
const GRACE_MS = BUCKET_MS + WALL_LEAP_MS_MAX;

/** The keys that one node may hold, shared by the windows of its partitions. */
export class KeyBudget {
  readonly max: number;
  used = 0;
  /** Keys in flight: admitted, not yet durable. */
  pending = 0;
  readonly #windows: Set<IdempotencyWindow> = new Set();

  constructor(max: number) {
    this.max = max;
  }

  attach(window: IdempotencyWindow): void {
    this.#windows.add(window);
  }

  /** Gives back what a window that is of no use any more had used. */
  detach(window: IdempotencyWindow): void {
    if (this.#windows.delete(window)) this.used -= window.count;
  }

  /** True when no further key may be admitted, after every window has forgotten what it may by `nowMs`. */
  isFull(nowMs: number): boolean {
    if (this.used + this.pending < this.max) return false;
    for (const window of this.#windows) window.expire(nowMs);
    return this.used + this.pending >= this.max;
  }
}

export class IdempotencyWindow {
  readonly #windowMs: number;
  /** Null once discarded. */
  #budget: KeyBudget | null;
  /** Ascending by start. */
  #buckets: KeyBucket[] = [];

  constructor(windowMs: number, budget: KeyBudget) {
    this.#windowMs = windowMs;
    this.#budget = budget;
    budget.attach(this);
  }

  /** Fingerprint of the event that was counted under this key, 0 when none is remembered. */
  find(k0: number, k1: number, k2: number, k3: number): number {
    for (let i = this.#buckets.length - 1; i >= 0; i--) {
      const fingerprint = (this.#buckets[i] as KeyBucket).find(k0, k1, k2, k3);
      if (fingerprint !== 0) return fingerprint;
    }
    return 0;
  }

  /** Remembers a key that was applied at `timeMs`. */
  add(k0: number, k1: number, k2: number, k3: number, fingerprint: number, timeMs: number): void {
    const start = Math.floor(timeMs / BUCKET_MS) * BUCKET_MS;
    if (this.#bucketAt(start).add(k0, k1, k2, k3, fingerprint)) this.#counted(1);
  }

  /** Forgets buckets that ended more than the window and a step of the clock before `timeMs`. */
  expire(timeMs: number): void {
    while (this.#buckets.length > 0) {
      const oldest = this.#buckets[0] as KeyBucket;
      if (oldest.startMs + GRACE_MS + this.#windowMs > timeMs) return;
      this.#counted(-oldest.count);
      this.#buckets.shift();
    }
  }

  /**
   * The partition is not open here and will not be: its keys no longer count against the limit. They stay, since a
   * checkpoint under way may still name and write them; without them its manifest would forget them for the next owner.
   */
  discard(): void {
    this.#budget?.detach(this);
    this.#budget = null;
  }

  get count(): number {
    return this.#buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  }

  /** Starts of all buckets, ms. */
  bucketStarts(): number[] {
    return this.#buckets.map((bucket) => bucket.startMs);
  }

  /** Starts of the buckets that changed since they were last encoded. */
  dirtyBuckets(): number[] {
    return this.#buckets.filter((bucket) => bucket.isDirty).map((bucket) => bucket.startMs);
  }

  /** Image of one bucket: its keys, 20 bytes each. Clears its dirty mark. */
  encodeBucket(startMs: number): Uint8Array {
    const bucket = this.#bucketAt(startMs);
    bucket.isDirty = false;
    return bucket.encode();
  }

  /** Throws `checkpoint_damaged` unless the bytes are whole keys. */
  decodeBucket(startMs: number, bytes: Uint8Array): void {
    if (bytes.length % (WORDS * 4) !== 0) {
      throw new CatchallError("checkpoint_damaged", "A page of idempotency keys is cut short");
    }
    const bucket = this.#bucketAt(startMs);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length; at += WORDS * 4) {
      if (view.getUint32(at + 16, true) === 0) {
        throw new CatchallError("checkpoint_damaged", "An idempotency key has no fingerprint");
      }
      const added = bucket.add(
        view.getUint32(at, true),
        view.getUint32(at + 4, true),
        view.getUint32(at + 8, true),
        view.getUint32(at + 12, true),
        view.getUint32(at + 16, true),
      );
      if (added) this.#counted(1);
    }
    bucket.isDirty = false;
  }

  #counted(keys: number): void {
    if (this.#budget !== null) this.#budget.used += keys;
  }

  #bucketAt(startMs: number): KeyBucket {
    for (let i = this.#buckets.length - 1; i >= 0; i--) {
      const bucket = this.#buckets[i] as KeyBucket;
      if (bucket.startMs === startMs) return bucket;
      if (bucket.startMs < startMs) break;
    }
    const created = new KeyBucket(startMs);
    this.#buckets.push(created);
    this.#buckets.sort((a, b) => a.startMs - b.startMs);
    return created;
  }
}

class KeyBucket {
  readonly startMs: number;
  count = 0;
  isDirty = true;
  #slots: Uint32Array = new Uint32Array(SLOTS_MIN * WORDS);

  constructor(startMs: number) {
    this.startMs = startMs;
  }

  find(k0: number, k1: number, k2: number, k3: number): number {
    return this.#slots[this.#probe(this.#slots, k0, k1, k2, k3) + 4] as number;
  }

  /** False when the key was there already. */
  add(k0: number, k1: number, k2: number, k3: number, fingerprint: number): boolean {
    if ((this.count + 1) * WORDS > this.#slots.length * LOAD_MAX) this.#grow();
    const at = this.#probe(this.#slots, k0, k1, k2, k3);
    if (this.#slots[at + 4] !== 0) return false;
    put(this.#slots, at, k0, k1, k2, k3, fingerprint);
    this.count++;
    this.isDirty = true;
    return true;
  }

  encode(): Uint8Array {
    const bytes = new Uint8Array(this.count * WORDS * 4);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (let slot = 0; slot < this.#slots.length; slot += WORDS) {
      if (this.#slots[slot + 4] === 0) continue;
      for (let word = 0; word < WORDS; word++, at += 4) {
        view.setUint32(at, this.#slots[slot + word] as number, true);
      }
    }
    return bytes;
  }

  #grow(): void {
    const grown = new Uint32Array(this.#slots.length * 2);
    const old = this.#slots;
    for (let slot = 0; slot < old.length; slot += WORDS) {
      const fingerprint = old[slot + 4] as number;
      if (fingerprint === 0) continue;
      const k0 = old[slot] as number;
      const k1 = old[slot + 1] as number;
      const k2 = old[slot + 2] as number;
      const k3 = old[slot + 3] as number;
      put(grown, this.#probe(grown, k0, k1, k2, k3), k0, k1, k2, k3, fingerprint);
    }
    this.#slots = grown;
  }

  /** Index of the key's first word, or of the free slot where it would go. The key is a hash: k0 is its position. */
  #probe(slots: Uint32Array, k0: number, k1: number, k2: number, k3: number): number {
    const count = slots.length / WORDS;
    let slot = (k0 >>> 0) & (count - 1);
    for (;;) {
      const at = slot * WORDS;
      if (slots[at + 4] === 0) return at;
      if (
        slots[at] === k0 >>> 0 &&
        slots[at + 1] === k1 >>> 0 &&
        slots[at + 2] === k2 >>> 0 &&
        slots[at + 3] === k3 >>> 0
      ) {
        return at;
      }
      slot = (slot + 1) & (count - 1);
    }
  }
}

function put(
  slots: Uint32Array,
  at: number,
  k0: number,
  k1: number,
  k2: number,
  k3: number,
  fingerprint: number,
): void {
  slots[at] = k0;
  slots[at + 1] = k1;
  slots[at + 2] = k2;
  slots[at + 3] = k3;
  slots[at + 4] = fingerprint;
}
