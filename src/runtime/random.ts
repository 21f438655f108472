/** Random numbers: seeded in simulation, from the system elsewhere. */
export interface Random {
  /** An unsigned 32-bit number. */
  uint32(): number;
}
