# The image has the program, root certificates and nothing else: no shell, no package manager, no root. Its paths and its
# entry point are the original's.
#
#	docker buildx build --platform linux/amd64,linux/arm64 -t nats-account-server .
#
# Outside of a git checkout, COMMIT and DATE say what is built: --build-arg COMMIT=$(git rev-parse HEAD)
# --build-arg DATE=$(git log -1 --format=%cI)
FROM --platform=$BUILDPLATFORM golang:1.26-alpine AS build
ARG TARGETOS TARGETARCH COMMIT DATE
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ENV GOOS=$TARGETOS GOARCH=$TARGETARCH
ENV LDFLAGS="-X nats-account-server/internal/daemon.commit=$COMMIT -X nats-account-server/internal/daemon.date=$DATE"
RUN CGO_ENABLED=0 go build -trimpath -tags netgo -ldflags "$LDFLAGS" -o /nats-account-server ./cmd/nats-account-server
# /image is the root of the image. What the user may write in it is the store.
RUN mkdir -p /image/bin /image/etc/ssl/certs /image/nats/bin /image/nats/conf /image/nats/store \
 && cp /nats-account-server /image/nats/bin/ && ln -s /nats/bin/nats-account-server /image/bin/nats-account-server \
 && cp conf/container.conf /image/nats/conf/nats-account-server.conf \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'nats:x:65532:65532::/nats:/sbin/nologin' > /image/etc/passwd && echo 'nats:x:65532:' > /image/etc/group \
 && chown 65532:65532 /image/nats/store

FROM scratch
ARG COMMIT DATE
LABEL org.opencontainers.image.title="nats-account-server" \
      org.opencontainers.image.description="Keeps the account JWTs of a NATS operator and serves them to nats-servers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="2.0.0" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.created="$DATE"
COPY --from=build /image /
USER 65532:65532
VOLUME /nats/store
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/bin/nats-account-server", "healthcheck", "http://127.0.0.1:9090"]
ENTRYPOINT ["/bin/nats-account-server"]
CMD ["-c", "/nats/conf/nats-account-server.conf"]
