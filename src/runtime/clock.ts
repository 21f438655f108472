/** The two clocks of a process. Nothing in the core reads time any other way. */
export interface Clock {
  /** Milliseconds since 1970-01-01 UTC, whole; may jump. */
  wallMs(): number;
  /** Milliseconds from an arbitrary start, fractional; never goes back. */
  monotonicMs(): number;
}
