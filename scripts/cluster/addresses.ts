/**
 * Where the processes of a local cluster listen: the usual ports where they are free, else others. What was chosen is
 * kept with the data: a replica set of MongoDB knows its members by address.
 */

import { bindOnce, freePort } from "../free-port.ts";

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
  return { nats: await chooseNats(wanted.nats, isFree, taken), mongoPort, nodePorts };
}

/** `preferred` when it is free, else any. */
export async function choosePort(preferred: number, taken: Set<number>): Promise<number> {
  const usable = preferred > 0 && preferred <= 65_535 && !taken.has(preferred);
  let port = usable ? await bindOnce(LOOPBACK, preferred) : null;
  while (port === null || taken.has(port)) port = await freePort();
  taken.add(port);
  return port;
}

async function chooseNats(
  count: number,
  isFree: boolean,
  taken: Set<number>,
): Promise<readonly NatsAddress[]> {
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
