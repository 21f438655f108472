/**
 * How the entries of one page lie in an array of numbers between the image and the records: PAGE_ROW_NUMBERS each.
 */
export const PAGE_ROW_NUMBERS = 8;
export const ROW_NAME_START = 0;
export const ROW_NAME_LENGTH = 1;
export const ROW_DELIVERED = 2;
export const ROW_BOUNCED = 3;
export const ROW_FIRST_SEEN_MS = 4;
export const ROW_LAST_SEEN_MS = 5;
export const ROW_STATUS_SINCE_MS = 6;
export const ROW_STATUS = 7;
