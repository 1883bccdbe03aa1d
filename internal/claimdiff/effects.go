package claimdiff

// Effects says for each leaf of the account claims what a change of it can do on a nats-server, at
// most. The paths are those of the JSON: [] is an element of a list, {} of a map.
//
// It is not to be changed by other packages. A test walks the types of jwt/v2, and fails for a leaf
// that is missing here. The reasons given below are what nats-server does with an update:
// updateAccountClaimsWithRefresh in its server/accounts.go. A field that is not in it would have
// the empty Effect. A change that only allows more overrides it with None, see differ.allowsMore.
var Effects = map[string]Effect{
	// What says whose claims these are. jti and iat are others in every JWT. A nats-server ends all
	// connections when the account expires, and refuses claims that are not valid yet.
	"aud":          None,
	"exp":          Cut,
	"iat":          Meta,
	"iss":          None,
	"jti":          Meta,
	"name":         None,
	"nats.type":    Meta,
	"nats.version": Meta,
	"nbf":          Rule,
	"sub":          Meta,

	// External authorization is asked when a client connects, so those that are connected stay.
	"nats.authorization.allowed_accounts[]": Later,
	"nats.authorization.auth_users[]":       Later,
	"nats.authorization.xkey":               Later,

	// Default permissions are put on connected clients at once. What these may no longer subscribe
	// to is unsubscribed, and no connection is ended.
	"nats.default_permissions.pub.allow[]": Stop,
	"nats.default_permissions.pub.deny[]":  Stop,
	"nats.default_permissions.resp.max":    Stop,
	"nats.default_permissions.resp.ttl":    Stop,
	"nats.default_permissions.sub.allow[]": Stop,
	"nats.default_permissions.sub.deny[]":  Stop,

	// An import of another account is checked again when an export changes. If it may not be any
	// more, its messages stop. How a service replies is looked up for each request, so requests in
	// flight go on as they began.
	"nats.exports[].account_token_position":   Stop,
	"nats.exports[].advertise":                None,
	"nats.exports[].allow_trace":              None,
	"nats.exports[].description":              None,
	"nats.exports[].info_url":                 None,
	"nats.exports[].name":                     None,
	"nats.exports[].response_threshold":       Later,
	"nats.exports[].response_type":            Later,
	"nats.exports[].revocations{}":            Stop,
	"nats.exports[].service_latency.results":  None,
	"nats.exports[].service_latency.sampling": None,
	"nats.exports[].subject":                  Stop,
	"nats.exports[].token_req":                Stop,
	"nats.exports[].type":                     Stop,

	// Imports are taken away and made again. Clients keep their subscriptions, which get nothing
	// if the import is not made again for the same subject.
	"nats.imports[].account":       Stop,
	"nats.imports[].allow_trace":   None,
	"nats.imports[].local_subject": Stop,
	"nats.imports[].name":          None,
	"nats.imports[].share":         None,
	"nats.imports[].subject":       Stop,
	"nats.imports[].to":            Stop,
	"nats.imports[].token":         Stop,
	"nats.imports[].type":          Stop,

	// The newest connections above conn are ended, and so are connections that have as many
	// subscriptions as subs says or more. A connection that sends a message above payload is ended
	// then. exports, imports and wildcards are checked when claims come in, and nothing checks
	// data.
	"nats.limits.conn":            Cut,
	"nats.limits.data":            None,
	"nats.limits.disallow_bearer": Cut,
	"nats.limits.exports":         Rule,
	"nats.limits.imports":         Rule,
	"nats.limits.leaf":            Cut,
	"nats.limits.payload":         Cut,
	"nats.limits.subs":            Cut,
	"nats.limits.wildcards":       Rule,

	// JetStream compares what is stored with disk_storage and mem_storage at each publish. The
	// other limits are compared when a stream or consumer is made or changed.
	"nats.limits.consumer":                              Later,
	"nats.limits.disk_max_stream_bytes":                 Later,
	"nats.limits.disk_storage":                          Stop,
	"nats.limits.max_ack_pending":                       Later,
	"nats.limits.max_bytes_required":                    Later,
	"nats.limits.mem_max_stream_bytes":                  Later,
	"nats.limits.mem_storage":                           Stop,
	"nats.limits.streams":                               Later,
	"nats.limits.tiered_limits{}.consumer":              Later,
	"nats.limits.tiered_limits{}.disk_max_stream_bytes": Later,
	"nats.limits.tiered_limits{}.disk_storage":          Stop,
	"nats.limits.tiered_limits{}.max_ack_pending":       Later,
	"nats.limits.tiered_limits{}.max_bytes_required":    Later,
	"nats.limits.tiered_limits{}.mem_max_stream_bytes":  Later,
	"nats.limits.tiered_limits{}.mem_storage":           Stop,
	"nats.limits.tiered_limits{}.streams":               Later,

	// A mapping counts for the next message.
	"nats.mappings{}[].cluster": Stop,
	"nats.mappings{}[].subject": Stop,
	"nats.mappings{}[].weight":  Stop,

	// Connections of a revoked user are ended, and so are those of a signing key that is removed.
	// If anything in the scope of a signing key differs, also its description, the connections of
	// all its users are ended. They come back with what the scope says then.
	"nats.revocations{}":                                      Cut,
	"nats.signing_keys{}":                                     Cut,
	"nats.signing_keys{}.description":                         Cut,
	"nats.signing_keys{}.key":                                 Meta,
	"nats.signing_keys{}.kind":                                Cut,
	"nats.signing_keys{}.role":                                Cut,
	"nats.signing_keys{}.template.allowed_connection_types[]": Cut,
	"nats.signing_keys{}.template.bearer_token":               Cut,
	"nats.signing_keys{}.template.data":                       Cut,
	"nats.signing_keys{}.template.payload":                    Cut,
	"nats.signing_keys{}.template.proxy_required":             Cut,
	"nats.signing_keys{}.template.pub.allow[]":                Cut,
	"nats.signing_keys{}.template.pub.deny[]":                 Cut,
	"nats.signing_keys{}.template.resp.max":                   Cut,
	"nats.signing_keys{}.template.resp.ttl":                   Cut,
	"nats.signing_keys{}.template.src[]":                      Cut,
	"nats.signing_keys{}.template.sub.allow[]":                Cut,
	"nats.signing_keys{}.template.sub.deny[]":                 Cut,
	"nats.signing_keys{}.template.subs":                       Cut,
	"nats.signing_keys{}.template.times[].end":                Cut,
	"nats.signing_keys{}.template.times[].start":              Cut,
	"nats.signing_keys{}.template.times_location":             Cut,

	// What only people and programs read, or only what happens between nats-servers.
	"nats.cluster_traffic": None,
	"nats.description":     None,
	"nats.info_url":        None,
	"nats.tags[]":          None,
	"nats.trace.dest":      None,
	"nats.trace.sampling":  None,
}
