/**
 * The Accept header, for answers that come as JSON or as one other type. Invariant: JSON is the answer to whatever does
 * not ask for the other type by more than it asks for JSON; a header that makes no sense is answered, not refused.
 */

const JSON_TYPE = "application/json";
/** Not named, or refused. */
const NOT_ACCEPTED = 0;

interface Acceptance {
  /** 0 to 1. */
  readonly quality: number;
  /** Place in the list; of two types of one quality the one named first is meant. */
  readonly place: number;
}

/**
 * True when an Accept header asks for `type` (lower case) rather than for JSON: by a higher quality, or by the same one
 * and named before. `type;q=0` refuses it; a range as wide for both, or none, leaves it at JSON.
 */
export function prefers(accept: string, type: string): boolean {
  if (accept === "") return false;
  const ranges = accept.toLowerCase().split(",");
  const other = acceptanceOf(ranges, type);
  const json = acceptanceOf(ranges, JSON_TYPE);
  if (other.quality === NOT_ACCEPTED || other.quality < json.quality) return false;
  return other.quality > json.quality || other.place < json.place;
}

/** That of the closest range: the type itself, else its "type/*", else "*\/*". */
function acceptanceOf(ranges: readonly string[], type: string): Acceptance {
  const candidates = [type, `${type.slice(0, type.indexOf("/"))}/*`, "*/*"];
  let closest = candidates.length;
  let acceptance: Acceptance = { quality: NOT_ACCEPTED, place: ranges.length };
  for (const [place, range] of ranges.entries()) {
    const [name = "", ...parameters] = range.split(";");
    const closeness = candidates.indexOf(name.trim());
    if (closeness < 0 || closeness >= closest) continue;
    closest = closeness;
    acceptance = { quality: qualityOf(parameters), place };
  }
  return acceptance;
}

function qualityOf(parameters: readonly string[]): number {
  for (const parameter of parameters) {
    const match = /^\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*$/.exec(parameter);
    if (match !== null) return Number(match[1]);
  }
  return 1;
}
