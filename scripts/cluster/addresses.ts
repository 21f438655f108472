/**
 * Where the processes of a local cluster listen. The usual ports where they are free, else others. nats-servers get
 * loopback addresses of their own where the system has them (Linux), so that each is monitored on port 8222, where the
 * nodes look whether the log is synced. What was chosen is kept with the data: a replica set of MongoDB knows its
 * members by address.
 */

import { createServer } from "node:net";

export interface NatsAddress {
  readonly host: string;
  readonly port: number;
  readonly monitorPort: number;
  readonly routePort: number;
}

export interface Addresses {
  readonly nats: readonly NatsAddress[];
  readonly mongoPort: number;
  /** In the order of the nodes. */
  readonly nodePorts: readonly number[];
}

export const LOOPBACK = "127.0.0.1";
const NATS_PORTS = { port: 4222, monitorPort: 8222, routePort: 6222 } as const;
const MONGO_PORT = 27_017;
const LOOPBACK_TRIES = 50;

export interface AddressesWanted {
  readonly nats: number;
  readonly nodes: number;
  /** 0: everything is a free port. */
  readonly port: number;
}

export async function chooseAddresses(wanted: AddressesWanted): Promise<Addresses> {
  const isFree = wanted.port === 0;
  const taken = new Set<number>([wanted.port]);
  const nodePorts: number[] = [];
  for (let i = 1; i <= wanted.nodes; i++) {
    nodePorts.push(await choosePort(isFree ? 0 : wanted.port + i, taken));
  }
  const mongoPort = await choosePort(isFree ? 0 : MONGO_PORT, taken);
  return { nats: await chooseNats(wanted.nats, isFree), mongoPort, nodePorts };
}

/** `preferred` when it is free, else any. */
export async function choosePort(preferred: number, taken: Set<number>): Promise<number> {
  const usable = preferred > 0 && preferred <= 65_535 && !taken.has(preferred);
  let port = usable ? await bind(LOOPBACK, preferred) : null;
  while (port === null || taken.has(port)) port = await bind(LOOPBACK, 0);
  taken.add(port);
  return port;
}

async function chooseNats(count: number, isFree: boolean): Promise<readonly NatsAddress[]> {
  const usual = await loopbackHosts(count, "127.0.0");
  if (!isFree && usual !== null) return usual;
  for (let i = 0; i < LOOPBACK_TRIES && process.platform === "linux"; i++) {
    const byte = () => 1 + Math.floor(Math.random() * 250);
    const hosts = await loopbackHosts(count, `127.${byte()}.${byte()}`);
    if (hosts !== null) return hosts;
  }
  const taken = new Set<number>();
  const addresses: NatsAddress[] = [];
  for (let i = 0; i < count; i++) {
    const [port, monitorPort, routePort] = [
      await choosePort(isFree ? 0 : NATS_PORTS.port + i, taken),
      await choosePort(isFree ? 0 : NATS_PORTS.monitorPort + i, taken),
      await choosePort(isFree ? 0 : NATS_PORTS.routePort + i, taken),
    ];
    addresses.push({ host: LOOPBACK, port, monitorPort, routePort });
  }
  return addresses;
}

/** The usual ports on as many addresses; null when one is not to be had. */
async function loopbackHosts(
  count: number,
  prefix: string,
): Promise<readonly NatsAddress[] | null> {
  const addresses: NatsAddress[] = [];
  for (let i = 1; i <= count; i++) {
    const host = `${prefix}.${i}`;
    for (const port of Object.values(NATS_PORTS)) {
      if ((await bind(host, port)) === null) return null;
    }
    addresses.push({ host, ...NATS_PORTS });
  }
  return addresses;
}

/** The port that could be bound (0: any), or null. It is let go of again. */
export function bind(host: string, port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === "object" && address !== null ? address.port : null;
      server.close(() => resolve(bound));
    });
  });
}
