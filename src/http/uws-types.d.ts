/** What uWebSockets.js has at run time and its typings leave out (or declare as a value that is not there). */
export {};

declare module "uWebSockets.js" {
  export const LIBUS_LISTEN_EXCLUSIVE_PORT: number;
  interface TemplatedApp {
    listen(
      host: string,
      port: number,
      options: number,
      onListening: (socket: us_listen_socket | false) => void,
    ): TemplatedApp;
  }
}
