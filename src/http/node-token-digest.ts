/** Adapter: TokenDigest by node:crypto. Digests of unequal length are unequal, never an exception. */

import { createHash, timingSafeEqual } from "node:crypto";
import type { TokenDigest } from "./access-control.ts";

export const NODE_TOKEN_DIGEST: TokenDigest = {
  sha256: (text) => createHash("sha256").update(text, "utf8").digest(),
  isEqual: (a, b) => a.length === b.length && timingSafeEqual(a, b),
};
