package bucket_test

import (
	"errors"
	"strings"
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

func TestARestartedServerGoesOnWhereItWas(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	a, b := newMember(t, op).start(k).await(), newMember(t, op).start(k).await()
	x, y, z := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	for _, account := range []*jwttest.Account{x, y} {
		if err := a.push(issue(t, op, account, 1)); err != nil {
			t.Fatal(err)
		}
	}
	b.serves(y.ID, issue(t, op, y, 1))
	b.stop()
	for account, seconds := range map[*jwttest.Account]int{x: 2, z: 1} {
		if err := a.push(issue(t, op, account, seconds)); err != nil {
			t.Fatal(err)
		}
	}
	b.start(k).await()
	b.serves(x.ID, issue(t, op, x, 2))
	b.serves(z.ID, issue(t, op, z, 1))
	if text := b.log.String(); strings.Count(text, "for the first time") != 1 ||
		!strings.Contains(text, "3 keys in it, took 2, offered 0") {
		t.Errorf("the log is\n%s", text)
	}
}

func asCommitError(err error) (*accounts.CommitError, bool) {
	return errors.AsType[*accounts.CommitError](err)
}
