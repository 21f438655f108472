# One node of catchall: build with all tools, run with nothing but Node.js, the program and what it needs.
# Debian, not Alpine: the uWebSockets.js binaries are built for glibc.
ARG NODE_IMAGE=node:22.14.0-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.mjs scripts/build.mjs
COPY src src
RUN npm run build

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
# One binary of uWebSockets.js is used, the others are 126 MB.
RUN keep="uws_$(node -p 'process.platform + "_" + process.arch + "_" + process.versions.modules').node" \
  && test -f "node_modules/uWebSockets.js/dist/bin/$keep" \
  && find node_modules/uWebSockets.js/dist/bin -name 'uws_*.node' ! -name "$keep" -delete

FROM ${NODE_IMAGE}
ENV NODE_ENV=production
WORKDIR /app
COPY package.json LICENSE CHANGELOG.md ./
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
RUN ln -s /app/dist/cli/main.js /usr/local/bin/catchall && mkdir /data && chown node:node /data
USER node
ENV CATCHALL_HOST=0.0.0.0 CATCHALL_PORT=8080 CATCHALL_DATA_DIR=/data
EXPOSE 8080
# Ready, not just alive: whoever waits for this container waits until it may get traffic.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.CATCHALL_PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["catchall"]
CMD ["serve"]
