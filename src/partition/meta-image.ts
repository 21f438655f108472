/**
 * The meta page of a partition: rule, producers, overrides and imports as JSON, since they are few and read by people.
 * Fields that a later version added may be missing; bytes that are no such object are `checkpoint_damaged`.
 */

import { CatchallError } from "../model/errors.ts";
import type { Rule } from "../model/status.ts";
import type { ImportMark } from "./import-apply.ts";
import type { Override } from "./partition-state.ts";

export interface MetaImage {
  readonly rule: Rule;
  readonly ruleRevision: number;
  /** Incarnation, sequence, time of its last entry (missing in images of version 0.1.0). */
  readonly producers: readonly (readonly [number, number, number?])[];
  readonly overrides: readonly (readonly [string, Override])[];
  /** By store id; missing in images before imports. */
  readonly imports?: readonly (readonly [number, ImportMark])[];
}

export function encodeMetaImage(image: MetaImage): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(image));
}

/** Errors: `checkpoint_damaged`. */
export function decodeMetaImage(bytes: Uint8Array): MetaImage {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as MetaImage;
  } catch (cause) {
    throw new CatchallError("checkpoint_damaged", "A meta page cannot be read", { cause });
  }
}
