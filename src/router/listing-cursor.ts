/**
 * The cursor of a listing: opaque to callers, checked when it comes back.
 */

import { CatchallError } from "../model/errors.ts";
import { PAGES } from "../model/partition-id.ts";
import type { ListingPlace } from "../partition/partition-host.ts";

export function encodeCursor(place: ListingPlace): string {
  return Buffer.from(`${place.page}:${place.name}`, "latin1").toString("base64url");
}

/** Throws `invalid_parameter` for anything that `encodeCursor` does not make. */
export function decodeCursor(text: string): ListingPlace {
  const match = /^(\d{1,5}):([a-z0-9._-]{1,253})$/.exec(
    Buffer.from(text, "base64url").toString("latin1"),
  );
  const place: ListingPlace = { page: Number(match?.[1]), name: match?.[2] ?? "" };
  // Base64 has several spellings of the same bytes; only our own is taken.
  if (match === null || place.page >= PAGES || encodeCursor(place) !== text) {
    throw new CatchallError(
      "invalid_parameter",
      `Cursor "${text.slice(0, 80)}" is not one of ours`,
    );
  }
  return place;
}
