/**
 * Durations of one route by status. The histogram of a status is looked up by number, so that an answer costs a few
 * additions and no string. Labels are the pattern, the method and the status: a bounded set.
 */

import { DURATION_BOUNDS_S, type Histogram, type Metrics } from "../runtime/metrics.ts";

export class RouteTimer {
  readonly #metrics: Metrics;
  readonly #method: string;
  readonly #route: string;
  readonly #byStatus: Map<number, Histogram> = new Map();
  /** Nearly all answers of a route have one status: its histogram is at hand. */
  #lastStatus = 0;
  #last: Histogram | null = null;

  constructor(metrics: Metrics, method: string, route: string) {
    this.#metrics = metrics;
    this.#method = method;
    this.#route = route;
  }

  observe(status: number, seconds: number): void {
    if (this.#last === null || this.#lastStatus !== status) {
      this.#last = this.#byStatus.get(status) ?? this.#open(status);
      this.#lastStatus = status;
    }
    this.#last.observe(seconds);
  }

  #open(status: number): Histogram {
    const labels = { route: this.#route, method: this.#method, status: String(status) };
    const help = "Time from request to answer, in seconds";
    const histogram = this.#metrics.histogram(
      "http_request_duration_seconds",
      help,
      DURATION_BOUNDS_S,
      labels,
    );
    this.#byStatus.set(status, histogram);
    return histogram;
  }
}
