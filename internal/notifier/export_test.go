package notifier

// MaxTaken is how many changes are taken up at once.
const MaxTaken = maxTaken

// InMemory returns how many announcements the session has in memory.
func (n *Notifier) InMemory() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.session.announcements.byKey)
}

// SetMaxWaiting sets how many announcements of the session may wait for a server.
func (n *Notifier) SetMaxWaiting(max int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.session.announcements.maxWaiting = max
}
