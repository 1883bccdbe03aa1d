package bucket_test

import (
	"errors"
	"testing"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

func TestAPushAppearsOnEveryServer(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	a, b := newMember(t, op).start(k).await(), newMember(t, op).start(k).await()
	x := jwttest.NewAccount(t)
	first, second := issue(t, op, x, 1), issue(t, op, x, 2)
	if err := a.push(first); err != nil {
		t.Fatal(err)
	}
	b.serves(x.ID, first)
	if err := b.push(second); err != nil {
		t.Fatal(err)
	}
	if err := a.push(first); !errors.As(err, new(*accounts.OlderError)) {
		t.Errorf("an older one: %v", err)
	}
	a.serves(x.ID, second)
}
