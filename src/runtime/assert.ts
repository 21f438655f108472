/** Assertions are for our own bugs only, never for bytes from outside. They stay on in production. */
export class InvariantViolation extends Error {
  override readonly name: string = "InvariantViolation";
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantViolation(message);
}
