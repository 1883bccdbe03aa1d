package httpapi

import "net/http"

func getHelp(w http.ResponseWriter, _ *http.Request, _ string) error {
	send(w, http.StatusOK, typeBare, helpPage)
	return nil
}

const helpPage = `
# NATS Account Server JWT API HELP

This server keeps the account JWTs of a NATS operator. Keys are public account keys: they begin with A and have 56
characters. A JWT is let in because the operator signed it. Besides that, this server may ask for a user and a password
(HTTP Basic, also in the URL) or for a client certificate:

  401  nobody, or not the right password
  403  known, and may not do this
  429  too many wrong passwords from this address: see Retry-After
  503  too many logins at once: see Retry-After

A flag in a query counts when its value is "true", in any case.

## GET /jwt/v1/help

This page.

## GET /healthz

200 and nothing else, as long as the server is up.

## GET /jwt/v1/operator

The operator's JWT, or 404 if the server has none. If there is a password in it, only those who log in may read it.

  * text=true    - as text/plain
  * decode=true  - header and claims to read, see below

## GET /jwt/v1/accounts/

200 and nothing else. nats-server asks this when it starts, to see that its resolver URL leads here:

    resolver: URL(http://<host>:<port>/jwt/v1/accounts/)

## GET /jwt/v1/accounts/<account key>

The account's JWT as it is stored (application/jwt). The answer has an ETag; a request with it in If-None-Match gets
304. Cache-Control lets the JWT be kept until it expires; one that never expires is to be asked for again each time.

  * text=true    - what is stored as text/plain, checked or not; the other flags don't count then
  * decode=true  - header and claims to read: keys sorted, dates behind iat, exp and nbf, activation tokens shown
                   as their claims, and the signature, which is not checked; check and notify don't count then
  * check=true   - 404 if the JWT has expired
  * notify=true  - announce the JWT to the nats-servers once more
  * delivery=true - as JSON which nats-servers have acknowledged the JWT and which are still owed it, since when and
                   why; with verify=true each is asked which one it runs (no more than ten times a second)

  404  no such account, or not an account key
  500  what is stored is damaged, or the announcement could not be noted down
  501  look-up by jti, which is gone
  503  the store can't be read now: ask again

## POST /jwt/v1/activations

Stores the activation token in the body, if an account that is stored here, or a signing key of that account, has signed it.

  400  not an activation token, not of accounts, of an account that is not known, or not valid now
  405  this server is read-only, or follows another one
  409  a newer token is stored
  413  larger than 16 KiB

## GET /jwt/v1/activations/<hash>

The activation token with this hash: base32, 56 characters with its padding. text, decode and notify work as for accounts.

## GET /jwt/v1/pack

Every account whose JWT can be served and has not expired, a line "<account key>|<JWT>" each, sorted by key. One at a time
for each address.

  * max=<n>      - no more than that many

  400  more than this server gives, or not a number
  429  a pack is being sent to this address already
  500  the store can't be read

## POST /jwt/v1/accounts/<account key>

Stores the account JWT in the body and announces it to the nats-servers. Any Content-Type will do; white space around
the JWT is dropped.

    curl --data-binary @account.jwt http://<host>:<port>/jwt/v1/accounts/<account key>
    nsc push --account <name>

200 means that the JWT is on stable storage and will be announced, even if NATS is away right now. The body says how
far that has got. The same JWT again is 200 too.

  400  not an account JWT, of another account, not signed by the operator, not valid now, or issued in the future
  409  a newer JWT of the account is stored
  413  larger than 1 MiB, or than nats-server's max_payload
  500  it could not be stored

HEAD is answered like GET, without the body. Scripts of every origin may use these routes (CORS).
`
