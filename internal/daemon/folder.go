package daemon

import (
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
)

// openFolder opens the folder that a read-only configuration names; nil if there is none.
func openFolder(c config.Store) (*dirsync.Folder, error) {
	switch {
	case c.NSC != "":
		return dirsync.OpenNSC(c.NSC)
	case c.ReadOnly && c.Dir != "":
		return dirsync.OpenFolder(c.Dir)
	default:
		return nil, nil
	}
}
