package accounts

import "slices"

// Precondition says for which state of its account a JWT is meant. The zero Precondition is every
// state. A JWT that is stored already meets each: a client whose answer was lost may send it again.
type Precondition struct {
	// Match are the ETags of which the stored JWT must have one. AnyETag stands for all: some JWT
	// must be stored. nil: it does not matter.
	Match []string
	// NoneMatch are the ETags of which the stored JWT must have none. AnyETag: none may be stored.
	NoneMatch []string
}

// AnyETag stands for the ETag of each stored JWT.
const AnyETag = "*"

// IsZero reports whether every state will do.
func (c Precondition) IsZero() bool { return c.Match == nil && c.NoneMatch == nil }

// checkPrecondition refuses an offer that is meant for another state of its account.
func checkPrecondition(_ *policy, o *offer) error {
	if o.only.IsZero() {
		return nil
	}
	etag := o.replaces()
	has := func(etags []string) bool {
		return etag != "" && (slices.Contains(etags, etag) || slices.Contains(etags, AnyETag))
	}
	if o.only.Match != nil && !has(o.only.Match) || has(o.only.NoneMatch) {
		return &ChangedError{etag}
	}
	return nil
}

// replaces returns the ETag of what is served for the account, or of a damaged JWT that is stored;
// "" if there is nothing.
func (o *offer) replaces() string {
	switch served := o.served(); {
	case served != nil:
		return served.ETag
	case o.current.stored != nil:
		return o.current.stored.ETag
	}
	return ""
}

// served returns what is served for the account before the offer is stored, nil for nothing.
func (o *offer) served() *Account {
	if o.current.served == nil && o.trust.hasNewer(o.Key, o.current.floor) {
		return o.trust.System
	}
	return o.current.served
}
