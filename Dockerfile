# The image that the original had: the same paths, the same entry point. In a container the server must listen on every
# interface: http { host: "" }, or -hp :9090.
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -tags netgo -o /nats-account-server ./cmd/nats-account-server

FROM alpine:3
RUN apk add --no-cache ca-certificates && mkdir -p /nats/bin /nats/conf
COPY --from=build /nats-account-server /nats/bin/nats-account-server
RUN ln -s /nats/bin/nats-account-server /bin/nats-account-server
ENTRYPOINT ["/bin/nats-account-server"]
