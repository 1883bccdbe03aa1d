package config

import (
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"

	"nats-account-server/internal/natsconf"
)

// Flags is the command line. A flag that was not given is empty or false and changes nothing.
type Flags struct {
	Config   string // -c
	Dir      string // -dir
	NSC      string // -nsc
	Operator string // -operator
	NATS     string // -nats
	Creds    string // -creds
	Primary  string // -primary
	HostPort string // -hp
	ReadOnly bool   // -ro
	Debug    bool   // -D
	Trace    bool   // -V
	Both     bool   // -DV
	Dump     bool   // -dump
	Test     bool   // -t
	Version  bool   // -v, --version
}

// ParseFlags reads the command line. What is wrong with it, or what -h asks for, is written to usage; the error
// is then flag.ErrHelp or another one.
func ParseFlags(args []string, usage io.Writer) (Flags, error) {
	var f Flags
	s := flag.NewFlagSet("nats-account-server", flag.ContinueOnError)
	s.SetOutput(usage)
	s.StringVar(&f.Config, "c", "", "configuration `file`")
	s.StringVar(&f.Dir, "dir", "", "`directory` of the JWTs; replaces the whole store section")
	s.StringVar(&f.NSC, "nsc", "", "`folder` in which nsc keeps an operator; replaces the whole store section, and names the operator")
	s.StringVar(&f.Operator, "operator", "", "operator JWT `file`")
	s.StringVar(&f.NATS, "nats", "", "`URL` of a NATS server; replaces the whole list")
	s.StringVar(&f.Creds, "creds", "", "NATS credentials `file`")
	s.StringVar(&f.Primary, "primary", "", "`URL` of the account server to follow")
	s.StringVar(&f.HostPort, "hp", "", "`host:port` for HTTP (default localhost:9090)")
	s.BoolVar(&f.ReadOnly, "ro", false, "take no pushes: serve what is put into the directory of -dir")
	s.BoolVar(&f.Debug, "D", false, "lines for debugging")
	s.BoolVar(&f.Trace, "V", false, "a line for each request")
	s.BoolVar(&f.Both, "DV", false, "both -D and -V")
	s.BoolVar(&f.Dump, "dump", false, "log the configuration as JSON after the start, without passwords")
	s.BoolVar(&f.Test, "t", false, "check the configuration and exit")
	s.BoolVar(&f.Version, "v", false, "print the version and exit")
	s.BoolVar(&f.Version, "version", false, "print the version and exit")
	return f, s.Parse(args)
}

// readFlags lays the command line over the configuration.
func (l *loader) readFlags(f Flags) {
	c := &l.config
	if f.Dir != "" {
		c.Store = Store{Dir: l.path(f.Dir), ReadOnly: f.ReadOnly}
	}
	if f.ReadOnly && f.Dir == "" && f.NSC == "" {
		l.warnings = append(l.warnings, Warning{Text: "-ro has no effect without -dir: to have a directory of the file only read, set store.readonly", Strict: true})
	}
	if f.NSC != "" { // it beats -dir
		c.Store, l.nscFlag = Store{NSC: l.path(f.NSC)}, true
		c.Operator = JWTRef{}
	}
	if f.Primary != "" {
		c.Primary, l.primaryAt = f.Primary, natsconf.Pos{}
	}
	if f.Operator != "" {
		c.Operator = JWTRef{Path: l.path(f.Operator)}
	}
	if f.Creds != "" {
		c.NATS.Credentials = l.path(f.Creds)
	}
	if f.NATS != "" {
		servers, err := find("nats", "servers").urls(f.NATS)
		if err != nil {
			err = fmt.Errorf("-nats: %w", err)
		}
		l.check(err)
		c.NATS.Servers = servers
	}
	if f.HostPort != "" {
		l.check(c.HTTP.listenOn(f.HostPort))
	}
	c.Logging.Debug = c.Logging.Debug || f.Debug || f.Both
	c.Logging.Trace = c.Logging.Trace || f.Trace || f.Both
}

func (l *loader) path(p string) string {
	p, err := absolute(p)
	l.check(err)
	return p
}

func (l *loader) check(err error) {
	if err != nil {
		l.mistakes = append(l.mistakes, err)
	}
}

// listenOn takes host:port; without a host it is every interface.
func (h *HTTP) listenOn(hostPort string) error {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return fmt.Errorf("error parsing hostport: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("error parsing hostport: %w", err)
	}
	if checkPort(n) != nil { // the original's words
		return fmt.Errorf("error creating listener: listen tcp: address %d: invalid port", n)
	}
	h.Host, h.Port = host, n
	return nil
}
