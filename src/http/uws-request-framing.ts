/**
 * Second reading of the headers that decide where a request ends. uWebSockets.js takes the first of two
 * Content-Lengths, calls any Transfer-Encoding chunked, and finds a broken length only after the handler ran; a proxy
 * in front may read the same bytes otherwise. What has two readings must never reach a handler.
 * One pass, no allocation; state is at module level because a pass never yields. The pass also notes which names it
 * saw, in 32 bits, so that most headers a handler asks for in vain cost no call of the library.
 */

import type { HttpRequest as UwsRequest } from "uWebSockets.js";

/** Results of `readFraming` below zero; from zero on it is the Content-Length. */
export const FRAMING_NO_BODY = -1;
export const FRAMING_CHUNKED = -2;
export const FRAMING_AMBIGUOUS = -3;
/** An Idempotency-Key that is empty or not the only one: no reading of it deduplicates what the client meant. */
export const FRAMING_BAD_KEY = -4;

const LENGTH_PATTERN = /^[0-9]{1,15}$/;
// RFC 3986 reg-name, IP literal and port; nothing that a log or a proxy could take for something else.
const HOST_PATTERN = /^[A-Za-z0-9._~:[\]%!$&'()*+,;=-]*$/;

let hostCount = 0;
let lengthCount = 0;
let codingCount = 0;
let hostText = "";
let lengthText = "";
let codingText = "";
let keyCount = 0;
let keyText = "";
let seenBits = 0;
/** The Host that passed last: nearly every request of a server names the same one. */
let goodHostText = "";

export function readFraming(request: UwsRequest): number {
  hostCount = 0;
  lengthCount = 0;
  codingCount = 0;
  keyCount = 0;
  seenBits = 0;
  request.forEach(visitHeader);
  if (hostCount !== 1) return FRAMING_AMBIGUOUS;
  if (hostText !== goodHostText) {
    if (!HOST_PATTERN.test(hostText)) return FRAMING_AMBIGUOUS;
    goodHostText = hostText;
  }
  if (keyCount !== 0 && (keyCount !== 1 || keyText === "")) return FRAMING_BAD_KEY;
  if (lengthCount === 0 && codingCount === 0) return FRAMING_NO_BODY;
  if (lengthCount + codingCount !== 1) return FRAMING_AMBIGUOUS;
  if (codingCount === 1) {
    return codingText.toLowerCase() === "chunked" ? FRAMING_CHUNKED : FRAMING_AMBIGUOUS;
  }
  if (lengthText === "0") return 0;
  return LENGTH_PATTERN.test(lengthText) ? Number(lengthText) : FRAMING_AMBIGUOUS;
}

/** The bits of the names that the last `readFraming` saw. */
export function seenHeaderBits(): number {
  return seenBits;
}

/**
 * The bit of a lower-case header name. A name whose bit was not seen is absent: asking the library for it instead costs
 * 0.15 µs, three times an event. Length and first letter keep the names of the hot path apart from each other.
 */
export function headerBit(name: string): number {
  return 1 << ((name.length + 7 * name.charCodeAt(0)) & 31);
}

function visitHeader(name: string, value: string): void {
  seenBits |= headerBit(name);
  switch (name.length) {
    case 4:
      if (name !== "host") return;
      hostCount += 1;
      hostText = value;
      return;
    case 14:
      if (name !== "content-length") return;
      lengthCount += 1;
      lengthText = value;
      return;
    case 15:
      if (name !== "idempotency-key") return;
      keyCount += 1;
      keyText = value;
      return;
    case 17:
      if (name !== "transfer-encoding") return;
      codingCount += 1;
      codingText = value;
      return;
    default:
  }
}
