/**
 * Names of streams and subjects of a cluster's logs. Subjects carry the cluster's name and incarnations, never a
 * domain. Pure; the prefix only says which cluster uses it.
 */

export interface LogNames {
  stream(incarnation: number): string;
  subject(incarnation: number): string;
  /** Matches the subjects of all logs of the cluster and nothing else. */
  readonly allSubjects: string;
  /** Null for a stream that is not a log of this cluster. */
  incarnationOf(stream: string): number | null;
  readonly storeStream: string;
  readonly storeSubject: string;
}

/** `clusterName`: letters, digits, `-`, `_`, as the configuration checks. */
export function logNames(clusterName: string): LogNames {
  const upper = clusterName.toUpperCase();
  const prefix = `${upper}_LOG_`;
  return {
    stream: (incarnation) => `${prefix}${incarnation}`,
    subject: (incarnation) => `${clusterName}.log.${incarnation}`,
    allSubjects: `${clusterName}.log.*`,
    incarnationOf: (stream) => {
      if (!stream.startsWith(prefix) || !/^[1-9][0-9]{0,15}$/.test(stream.slice(prefix.length))) {
        return null;
      }
      const incarnation = Number(stream.slice(prefix.length));
      return Number.isSafeInteger(incarnation) ? incarnation : null;
    },
    storeStream: `${upper}_STORE`,
    storeSubject: `${clusterName}.store`,
  };
}
