/** What `import … from "catchall/client"` gives. */

export {
  CatchallClient,
  type ClientOptions,
  type ListOptions,
  type SendOptions,
} from "./catchall-client.ts";
export { CatchallClientError, type ClientErrorDetails } from "./client-errors.ts";
export type { CallOptions, ConnectionOptions } from "./connection.ts";
export type { RetryOptions } from "./retry-policy.ts";
export type * from "./types.ts";
