package notifier

import (
	"fmt"
	"sync"
	"testing"

	"nats-account-server/internal/accounts"
)

// Any user of the system account can answer as if it were many nats-servers, and tenants have many accounts.
func TestWhatIsKnownOfAccountsThatAreNotInEffectIsBounded(t *testing.T) {
	i := newIncomplete(new(sync.Mutex))
	at := func(servers int) []accounts.Refusal { return make([]accounts.Refusal, servers) }
	refused := 0
	for n := range maxIncomplete + 5 {
		key := fmt.Sprint("A", n)
		if !i.set(key, at(1)) {
			refused++
		}
		i.ask(key)
		i.changed(key)
	}
	if refused != 5 || i.count() != maxIncomplete || len(i.questions.items) != maxQuestions ||
		len(i.exporters.items) != maxExporters {
		t.Errorf("%d are left out, %d known, %d to be asked, %d exporters", refused, i.count(),
			len(i.questions.items), len(i.exporters.items))
	}
	if i.set("A0", at(maxShortfalls)) {
		t.Error("there is room for any number of nats-servers")
	}
	for n := range maxIncomplete {
		i.set(fmt.Sprint("A", n), nil)
	}
	if i.size != 0 || i.count() != 0 || !i.set("A1", at(maxShortfalls)) {
		t.Errorf("%d remain, of %d accounts", i.size, i.count())
	}
}
