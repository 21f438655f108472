/**
 * Reads the settings of a node: flag > environment > file > default, then checks how they relate, then freezes them.
 * All mistakes are reported, one sentence each, never only the first; secrets are never quoted.
 * Must never read the process itself: arguments, environment and files are passed in.
 */

import type { Config } from "./config-type.ts";
import {
  formatDurationMs,
  formatSizeBytes,
  type OptionValue,
  parseOption,
} from "./option-value.ts";
import {
  CONFIG_FLAG,
  environmentNameOf,
  OPTIONS,
  type OptionRow,
  OTHER_ENVIRONMENT_NAMES,
} from "./options.ts";
import { suggestionText } from "./suggestion.ts";

export type { Config } from "./config-type.ts";

export interface ConfigSources {
  /** What follows `catchall serve`. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Text of the configuration file; throws when it can't be read. */
  readonly readFile: (path: string) => string;
  /** Name of this machine; first part of the default `nodeId`. */
  readonly hostName: string;
}

export type ConfigResult = { readonly config: Config } | { readonly mistakes: readonly string[] };

/** A value before parsing, and where it came from, as the mistake shall name it. */
interface RawValue {
  readonly text: string;
  readonly source: string;
}

interface Layers {
  readonly flags: ReadonlyMap<string, RawValue>;
  readonly environment: ReadonlyMap<string, RawValue>;
  readonly file: ReadonlyMap<string, RawValue>;
}

const CLUSTER_ONLY_FIELDS = [
  "mongoUrl",
  "natsMonitorUrl",
  "natsUser",
  "natsPassword",
  "natsToken",
  "natsCreds",
  "natsTlsCa",
  "natsTlsCert",
  "natsTlsKey",
] as const;
const FLAGS: readonly string[] = [...OPTIONS.map((option) => option.flag), CONFIG_FLAG];
const OPTION_OF_FLAG: ReadonlyMap<string, OptionRow> = new Map(
  OPTIONS.map((row) => [row.flag, row]),
);

/**
 * Loads and checks the configuration.
 *
 * Shape: either a frozen `config` or at least one mistake; a mistake is one sentence without a full stop that names
 *        the flag, environment name or key, and what it must be.
 * Units: durations take ms, s, m, h; sizes bytes, KiB, MiB, GiB.
 * Errors: never throws; an unreadable file is a mistake.
 */
export function loadConfig(sources: ConfigSources): ConfigResult {
  const mistakes: string[] = [];
  const flags = readFlags(sources.argv, mistakes);
  const environment = readEnvironment(sources.env, mistakes);
  const filePath = flags.get(CONFIG_FLAG)?.text ?? environment.get(CONFIG_FLAG)?.text;
  const file =
    filePath === undefined
      ? new Map<string, RawValue>()
      : readConfigFile(filePath, sources, mistakes);
  const wrong = new Set<keyof Config>();
  const values = parseValues({ flags, environment, file }, wrong, mistakes);
  const config = configOf(values, sources.hostName);
  mistakes.push(...brokenRelations(config, wrong));
  return mistakes.length > 0 ? { mistakes } : { config };
}

/**
 * The configuration as name and text, in the order of the table, to print at start. Secrets and the user part of
 * addresses are masked.
 */
export function describeConfig(config: Config): Record<string, string> {
  const lines: Record<string, string> = {};
  for (const option of OPTIONS) lines[option.flag] = describeValue(option, config[option.field]);
  return lines;
}

function readFlags(argv: readonly string[], mistakes: string[]): Map<string, RawValue> {
  const flags = new Map<string, RawValue>();
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] as string;
    if (!argument.startsWith("--") || argument === "--") {
      mistakes.push(`"${argument}" is not an option; options look like --port 8080`);
      continue;
    }
    const equals = argument.indexOf("=");
    const flag = argument.slice(2, equals === -1 ? undefined : equals);
    const source = `--${flag}`;
    if (!FLAGS.includes(flag)) {
      mistakes.push(`${source} is not an option${suggestionText(flag, FLAGS, "--")}`);
      // What follows an unknown flag is most likely its value: one mistake, not two.
      if (equals === -1 && isValue(argv[index + 1])) index++;
      continue;
    }
    if (equals !== -1) {
      flags.set(flag, { text: argument.slice(equals + 1), source });
    } else if (OPTION_OF_FLAG.get(flag)?.kind.type === "boolean") {
      const next = argv[index + 1];
      const isGiven = next === "true" || next === "false";
      flags.set(flag, { text: isGiven ? next : "true", source });
      if (isGiven) index++;
    } else if (isValue(argv[index + 1])) {
      index++;
      flags.set(flag, { text: argv[index] as string, source });
    } else {
      mistakes.push(`${source} needs a value`);
    }
  }
  return flags;
}

function isValue(argument: string | undefined): boolean {
  return argument !== undefined && !argument.startsWith("--");
}

function readEnvironment(env: ConfigSources["env"], mistakes: string[]): Map<string, RawValue> {
  const flagOfName = new Map(FLAGS.map((flag) => [environmentNameOf(flag), flag]));
  const values = new Map<string, RawValue>();
  for (const [name, text] of Object.entries(env)) {
    // An empty value counts as not given: compose files and unit files set names they have no value for.
    if (!name.startsWith("CATCHALL_") || text === undefined || text === "") continue;
    if (OTHER_ENVIRONMENT_NAMES.includes(name) || name.startsWith("CATCHALL_TEST_")) continue;
    const flag = flagOfName.get(name);
    if (flag === undefined) {
      mistakes.push(`${name} is not an option${suggestionText(name, [...flagOfName.keys()], "")}`);
    } else {
      values.set(flag, { text, source: name });
    }
  }
  return values;
}

function readConfigFile(
  path: string,
  sources: ConfigSources,
  mistakes: string[],
): Map<string, RawValue> {
  const values = new Map<string, RawValue>();
  const parsed = parseConfigFile(path, sources, mistakes);
  if (parsed === null) return values;
  const keys = OPTIONS.map((option) => option.flag);
  const flagOfKey = new Map(
    keys.flatMap((flag) => [
      [flag, flag],
      [camelCase(flag), flag],
    ]),
  );
  for (const [key, value] of Object.entries(parsed)) {
    const flag = flagOfKey.get(key);
    const source = `"${key}" in ${path}`;
    if (flag === undefined) {
      mistakes.push(`${source} is not an option${suggestionText(key, [...flagOfKey.keys()], "")}`);
    } else if (values.has(flag)) {
      mistakes.push(`${source} is given twice, as "${flag}" and as "${camelCase(flag)}"`);
    } else if (
      typeof value === "string" ||
      typeof value === "number" ||
      typeof value === "boolean"
    ) {
      values.set(flag, { text: String(value), source });
    } else if (value !== null) {
      mistakes.push(`${source} must be a string, a number or a boolean`);
    }
  }
  return values;
}

function parseConfigFile(path: string, sources: ConfigSources, mistakes: string[]): object | null {
  let text: string;
  try {
    text = sources.readFile(path);
  } catch (error) {
    mistakes.push(`The configuration file "${path}" can't be read: ${messageOf(error)}`);
    return null;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which may hold a secret.
    mistakes.push(`The configuration file "${path}" is not valid JSON`);
    return null;
  }
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed;
  mistakes.push(`The configuration file "${path}" must hold one JSON object`);
  return null;
}

/** Collects in `wrong` the fields that have no usable value, so that relations pass over them. */
function parseValues(
  layers: Layers,
  wrong: Set<keyof Config>,
  mistakes: string[],
): Map<keyof Config, OptionValue | null> {
  const values = new Map<keyof Config, OptionValue | null>();
  for (const option of OPTIONS) {
    const { flag } = option;
    const given = [layers.flags.get(flag), layers.environment.get(flag), layers.file.get(flag)];
    const raws = given.filter((raw) => raw !== undefined);
    // A layer that is overridden is checked too: a mistake there would only show later, when the flag is dropped.
    const parsed = raws.map((raw) => parseRaw(option, raw, mistakes));
    if (parsed.includes(null)) wrong.add(option.field);
    if (raws.length > 0) {
      values.set(option.field, parsed[0] ?? null);
    } else {
      values.set(option.field, option.default === null ? null : defaultOf(option, option.default));
    }
  }
  return values;
}

function parseRaw(option: OptionRow, raw: RawValue, mistakes: string[]): OptionValue | null {
  const parsed = parseOption(option.kind, raw.text);
  if ("value" in parsed) return parsed.value;
  // Addresses may carry a password.
  const text = option.kind.type === "urls" ? maskUser(raw.text) : raw.text;
  const shown = option.isSecret === true ? "" : `, not ${JSON.stringify(text.slice(0, 100))}`;
  mistakes.push(`${raw.source} must be ${parsed.expected}${shown}`);
  return null;
}

function defaultOf(option: OptionRow, text: string): OptionValue | null {
  const parsed = parseOption(option.kind, text);
  return "value" in parsed ? parsed.value : null;
}

function configOf(values: Map<keyof Config, OptionValue | null>, hostName: string): Config {
  const nodeId = values.get("nodeId") ?? defaultNodeId(hostName, Number(values.get("port")));
  // Safe: the table names every field of Config (a test holds it to that), and parseOption made each value.
  return Object.freeze({ ...Object.fromEntries(values), nodeId }) as unknown as Config;
}

function defaultNodeId(hostName: string, port: number): string {
  const name = hostName
    .replaceAll(/[^A-Za-z0-9._-]/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 100);
  return `${name === "" ? "node" : name}-${port}`;
}

type NullableField = { [F in keyof Config]: null extends Config[F] ? F : never }[keyof Config];

function brokenRelations(config: Config, wrong: ReadonlySet<keyof Config>): string[] {
  const mistakes: string[] = [];
  const check = (fields: readonly (keyof Config)[], holds: boolean, mistake: string): void => {
    if (!holds && !fields.some((field) => wrong.has(field))) mistakes.push(mistake);
  };
  const needs = (field: NullableField, other: NullableField, why: string): void => {
    const mistake = `--${flagOf(field)} needs --${flagOf(other)}${why}`;
    check([field, other], config[field] === null || config[other] !== null, mistake);
  };
  const needBoth: readonly (readonly [NullableField, NullableField])[] = [
    ["tlsCert", "tlsKey"],
    ["natsTlsCert", "natsTlsKey"],
    ["natsUser", "natsPassword"],
  ];
  for (const [left, right] of needBoth) {
    needs(left, right, "");
    needs(right, left, "");
  }
  needs("natsUrl", "mongoUrl", ": a cluster keeps its checkpoints in MongoDB");
  const embedded = ": a node without NATS is embedded and keeps everything in --data-dir";
  for (const field of CLUSTER_ONLY_FIELDS) needs(field, "natsUrl", embedded);
  const logins = (["natsUser", "natsToken", "natsCreds"] as const).filter(
    (field) => config[field] !== null,
  );
  check(
    logins,
    logins.length <= 1,
    "Only one of --nats-user, --nats-token and --nats-creds may be given",
  );
  check(
    ["expectNodes", "partitions"],
    config.expectNodes <= config.partitions,
    `--expect-nodes ${config.expectNodes} is more than --partitions ${config.partitions}: some nodes would own nothing`,
  );
  return mistakes;
}

function flagOf(field: keyof Config): string {
  return OPTIONS.find((option) => option.field === field)?.flag ?? field;
}

function describeValue(option: OptionRow, value: Config[keyof Config]): string {
  if (value === null) return "";
  if (option.isSecret === true) return option.kind.type === "url" ? maskUser(String(value)) : "***";
  if (option.kind.type === "urls") return String(value).split(",").map(maskUser).join(",");
  if (option.kind.type === "url") return maskUser(String(value));
  if (option.kind.type === "durationMs") return formatDurationMs(Number(value));
  if (option.kind.type === "sizeBytes") return formatSizeBytes(Number(value));
  return String(value);
}

/** `mongodb://user:password@host/?x=y` → `mongodb://***@host/`: options after "?" may hold secrets as well. */
function maskUser(url: string): string {
  return url.replace(/\?.*$/, "?***").replace(/^([a-z+]*:\/\/)?.*@/i, "$1***@");
}

function camelCase(flag: string): string {
  return flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
