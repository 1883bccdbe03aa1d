package config

import (
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"

	"nats-account-server/internal/natsconf"
)

// Flags is the command line. An empty or false field means that the flag is not given. All but the
// last two are the original's.
type Flags struct {
	Config   string // -c: path of the configuration file
	Dir      string // -dir: Store.Dir; replaces the whole Store
	NSC      string // -nsc: Store.NSC; replaces the whole Store, and wins over -dir
	Operator string // -operator: path of the operator's JWT; replaces Operators
	NATS     string // -nats: URLs, separated by commas; replaces NATS.Servers
	Creds    string // -creds: NATS.Credentials
	Primary  string // -primary: URL of the account server to follow
	HostPort string // -hp: HTTP.Host and HTTP.Port
	ReadOnly bool   // -ro: Store.ReadOnly, with -dir only
	Debug    bool   // -D: Logging.Debug
	Trace    bool   // -V: Logging.Trace
	Both     bool   // -DV: Logging.Debug and Logging.Trace
	Dump     bool   // -dump: the program logs the configuration after the start
	Test     bool   // -t: the program only checks the configuration
	Version  bool   // -v, --version: the program prints its version
}

// ParseFlags parses the command line. It writes what is wrong, and the help for -h, to usage. The
// error for -h is flag.ErrHelp. An argument that belongs to no flag is an error: the flags after it
// would be ignored, and so would a file name without -c.
func ParseFlags(args []string, usage io.Writer) (Flags, error) {
	var f Flags
	// The caller decides how the program ends, so the package flag must not.
	s := flag.NewFlagSet("nats-account-server", flag.ContinueOnError)
	s.SetOutput(usage)
	s.StringVar(&f.Config, "c", "", "configuration `file`")
	s.StringVar(&f.Dir, "dir", "", "`directory` of the JWTs; replaces the whole store section")
	s.StringVar(&f.NSC, "nsc", "",
		"`folder` in which nsc keeps an operator; replaces the whole store section, "+
			"and names the operator")
	s.StringVar(&f.Operator, "operator", "", "operator JWT `file`")
	s.StringVar(&f.NATS, "nats", "", "`URL` of a NATS server; replaces the whole list")
	s.StringVar(&f.Creds, "creds", "", "NATS credentials `file`")
	s.StringVar(&f.Primary, "primary", "", "`URL` of the account server to follow")
	s.StringVar(&f.HostPort, "hp", "", "`host:port` for HTTP (default localhost:9090)")
	s.BoolVar(&f.ReadOnly, "ro", false,
		"take no pushes: serve what is put into the directory of -dir")
	s.BoolVar(&f.Debug, "D", false, "lines for debugging")
	s.BoolVar(&f.Trace, "V", false, "a line for each request")
	s.BoolVar(&f.Both, "DV", false, "both -D and -V")
	s.BoolVar(&f.Dump, "dump", false,
		"log the configuration as JSON after the start, without passwords")
	s.BoolVar(&f.Test, "t", false,
		"check the configuration, its files and the credentials, and exit")
	s.BoolVar(&f.Version, "v", false, "print the version and exit")
	s.BoolVar(&f.Version, "version", false, "print the version and exit")
	if err := s.Parse(args); err != nil {
		return f, err
	}
	if s.NArg() > 0 {
		err := fmt.Errorf("the argument %q belongs to no flag: give a configuration file as -c "+
			"file, and turn a flag without a value off as -D=false", s.Arg(0))
		_, _ = fmt.Fprintln(usage, err)
		return f, err
	}
	return f, nil
}

// readFlags changes the draft as the command line says. It comes after readFile, because a flag
// wins over the file. Mistakes in flags have no position.
func (l *loader) readFlags() {
	f, c := l.flags, &l.draft
	l.readStoreFlags()
	// These values are parsed like those of the keys in the file.
	l.setKey("-primary", f.Primary, "primary", find(l.keys, "Primary"))
	l.setKey("-operator", f.Operator, "operatorjwtpath", find(l.keys, "OperatorJWTPath"))
	nats := find(l.keys, "NATS").keys
	l.setKey("-creds", f.Creds, "nats.usercredentials", find(nats, "UserCredentials"))
	l.setKey("-nats", f.NATS, "nats.servers", find(nats, "Servers"))
	if f.HostPort != "" {
		host, port, err := parseHostPort(f.HostPort)
		l.fail(err)
		c.HTTP.Host, c.HTTP.Port = host, port
	}
	// These flags only add lines: they can't turn off what the file turns on.
	c.Logging.Debug = c.Logging.Debug || f.Debug || f.Both
	c.Logging.Trace = c.Logging.Trace || f.Trace || f.Both
}

// setKey sets the key k, whose path is path, to the value of a flag. An empty value means that the
// flag is not given. The value is parsed like one in the file.
func (l *loader) setKey(flag, value, path string, k *key) {
	if value == "" {
		return
	}
	if err := k.set(l, k.name, path, natsconf.Value{Data: value}); err != nil {
		l.fail(fmt.Errorf("%s: %w", flag, err))
	}
	delete(l.at, path) // a mistake in a flag has no position in the file
}

// readStoreFlags replaces the whole store section but the size of the cache if a flag names a
// directory. -nsc wins over -dir, and replaces the operator too.
func (l *loader) readStoreFlags() {
	f, c := l.flags, &l.draft
	if f.Dir != "" {
		c.Store = Store{Dir: l.absolute(f.Dir), ReadOnly: f.ReadOnly, CacheSize: c.Store.CacheSize}
	}
	// -nsc is always read-only. Without a directory there is nothing to be read.
	if f.ReadOnly && f.Dir == "" && f.NSC == "" {
		l.warn(natsconf.Pos{}, true, "-ro has no effect without -dir: "+
			"to have a directory of the file only read, set store.readonly")
	}
	if f.NSC != "" {
		// The operator is that of the folder; complete finds it there.
		c.Store = Store{NSC: l.absolute(f.NSC), CacheSize: c.Store.CacheSize}
		c.Operators = nil
	}
}

// absolute is the function of that name for a path on the command line. An error becomes a mistake.
func (l *loader) absolute(path string) string {
	path, err := absolute(path)
	l.fail(err)
	return path
}

// parseHostPort parses host:port. Without a host it is every interface.
func parseHostPort(hostPort string) (host string, port int, err error) {
	// The texts of both errors are the original's.
	host, text, err := net.SplitHostPort(hostPort)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("error parsing hostport: %w", err)
	}
	if !validPort(port) {
		// This is the original's error, which it gets only when it listens.
		return "", 0,
			fmt.Errorf("error creating listener: listen tcp: address %d: invalid port", port)
	}
	if isHost("host", host) != nil {
		return "", 0,
			fmt.Errorf("error parsing hostport: %q is no name and no address; leave it out for "+
				"every interface, as in :%d", host, port)
	}
	return host, port, nil
}
