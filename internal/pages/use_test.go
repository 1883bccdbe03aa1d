package pages

import (
	"testing"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/facts"
)

// Each nats-server of a cluster says what all of them store together. Their answers were added up,
// so that an account in a cluster of three seemed to use three times as much.
func TestStorageInAClusterIsCountedOnce(t *testing.T) {
	t.Parallel()
	streams := []facts.Stream{{Name: "orders", Replicas: 2, Bytes: 1000}}
	u := use{byField: map[string]used{}}
	u.addJetStream(jwt.JetStreamLimits{DiskStorage: 4000}, []facts.JetStream{
		{Disk: 2000, Memory: 10, Streams: streams},
		{Disk: 1900, Memory: 10, Streams: streams}, // it has heard of the other later
		{Disk: 2000, Memory: 10},
	})
	for field, want := range map[string]int64{
		"nats.limits.disk_storage": 2000, "nats.limits.mem_storage": 10, "nats.limits.streams": 1,
	} {
		if got := u.byField[field].amount; got != want {
			t.Errorf("%s: %d, want %d", field, got, want)
		}
	}
}
