/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4) over bytes, slicing by 16 over one flat table: about 1 GB/s on one core.
 * Detects damage, not malice. Passing the crc of what came before as `previous` gives the crc of the concatenation,
 * which is how log entries are chained.
 */

const POLYNOMIAL_REVERSED = 0x82f63b78;
const SLICES = 16;
const TABLE: Int32Array = buildTable();

/**
 * Crc of `bytes[start, end)`, continuing from `previous` (0 to begin). Unsigned 32 bits.
 * The caller guarantees 0 <= start <= end <= bytes.length.
 */
export function crc32c(bytes: Uint8Array, start: number, end: number, previous = 0): number {
  const table = TABLE;
  let crc = ~previous;
  let i = start;
  for (const blocksEnd = end - 15; i < blocksEnd; i += 16) {
    const first =
      crc ^
      ((bytes[i] as number) |
        ((bytes[i + 1] as number) << 8) |
        ((bytes[i + 2] as number) << 16) |
        ((bytes[i + 3] as number) << 24));
    crc =
      (table[3840 + (first & 255)] as number) ^
      (table[3584 + ((first >>> 8) & 255)] as number) ^
      (table[3328 + ((first >>> 16) & 255)] as number) ^
      (table[3072 + (first >>> 24)] as number) ^
      (table[2816 + (bytes[i + 4] as number)] as number) ^
      (table[2560 + (bytes[i + 5] as number)] as number) ^
      (table[2304 + (bytes[i + 6] as number)] as number) ^
      (table[2048 + (bytes[i + 7] as number)] as number) ^
      (table[1792 + (bytes[i + 8] as number)] as number) ^
      (table[1536 + (bytes[i + 9] as number)] as number) ^
      (table[1280 + (bytes[i + 10] as number)] as number) ^
      (table[1024 + (bytes[i + 11] as number)] as number) ^
      (table[768 + (bytes[i + 12] as number)] as number) ^
      (table[512 + (bytes[i + 13] as number)] as number) ^
      (table[256 + (bytes[i + 14] as number)] as number) ^
      (table[bytes[i + 15] as number] as number);
  }
  for (; i < end; i += 1) {
    crc = (table[(crc ^ (bytes[i] as number)) & 255] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

/** Slice k of the table is the crc of one byte followed by k zero bytes. */
function buildTable(): Int32Array {
  const table = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL_REVERSED : crc >>> 1;
    }
    table[byte] = crc;
  }
  for (let i = 256; i < table.length; i += 1) {
    const shorter = table[i - 256] as number;
    table[i] = (shorter >>> 8) ^ (table[shorter & 255] as number);
  }
  return table;
}
