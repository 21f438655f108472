/**
 * Milliseconds since 1970 as RFC 3339 in UTC, "2026-11-21T10:00:00.000Z". Pure arithmetic (days from civil, Howard
 * Hinnant, public domain), so that the core needs no ambient clock object.
 */

const DAY_MS = 86_400_000;

/** `timeMs`: whole, 0 up to the end of year 9999. */
export function isoTime(timeMs: number): string {
  const days = Math.floor(timeMs / DAY_MS);
  const rest = timeMs - days * DAY_MS;
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const date = `${digits(year, 4)}-${digits(month, 2)}-${digits(day, 2)}`;
  const hours = Math.floor(rest / 3_600_000);
  const minutes = Math.floor(rest / 60_000) % 60;
  const seconds = Math.floor(rest / 1000) % 60;
  const time = `${digits(hours, 2)}:${digits(minutes, 2)}:${digits(seconds, 2)}`;
  return `${date}T${time}.${digits(rest % 1000, 3)}Z`;
}

function digits(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
