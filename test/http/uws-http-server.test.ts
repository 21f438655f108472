import { createUwsHttpServer } from "../../src/http/uws-http-server.ts";
import { describeHttpServer } from "../conformance/http-server.ts";

describeHttpServer("UwsHttpServer", async (options) => createUwsHttpServer(options));
