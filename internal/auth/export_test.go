package auth

const (
	MaxKnown   = maxKnown
	MaxClients = maxClients
)

// SetCompare replaces bcrypt.
func (d *Desk) SetCompare(f func(hash, password []byte) error) { d.compare = f }

// Clients is how many addresses the desk keeps in mind.
func (d *Desk) Clients() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.clients)
}

// Known is how many headers and certificates the guard remembers.
func (g *Guard) Known() int {
	g.memory.mu.RLock()
	defer g.memory.mu.RUnlock()
	return len(g.memory.known)
}

// ParseBasic is for the fuzz test.
var ParseBasic = parseBasic

// Late is a login whose header was not in the memory a moment ago.
func (g *Guard) Late(header, name, password, address string) error {
	k := g.memory.mark(markHeader, []byte(header))
	t, err := g.board(k, attempt{name: name, password: password, address: address})
	if err != nil {
		return err
	}
	defer g.leave(k, t)
	<-t.done
	return t.err
}
