package config

import (
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"nats-account-server/internal/natsconf"
)

// Flags is the command line. An empty or false field means that the flag is not given. table says
// what each one means.
type Flags struct {
	// These are the original's.
	Config   string // path of the configuration file
	Dir      string // Store.Dir; replaces the whole Store
	NSC      string // Store.NSC; replaces the whole Store, and wins over Dir
	Operator string // path of the operator's JWT; replaces Operators
	NATS     string // URLs, separated by commas; replaces NATS.Servers
	Creds    string // NATS.Credentials
	Primary  string // URL of the account server to follow
	HostPort string // HTTP.Host and HTTP.Port
	ReadOnly bool   // Store.ReadOnly, with Dir only
	Debug    bool   // Logging.Debug
	Trace    bool   // Logging.Trace
	Both     bool   // Logging.Debug and Logging.Trace
	Dump     bool   // the program logs the configuration after the start

	// These are nats-server's.
	Host         string // HTTP.Host; wins over HostPort
	Port         string // HTTP.Port; wins over HostPort; "-1" is any free port
	Log          string // Logging.File; with it, the log is not in syslog
	LogSizeLimit string // Logging.SizeLimit
	Syslog       bool   // Logging.Syslog instead of Logging.File
	RemoteSyslog string // Logging.RemoteSyslog instead of Logging.File
	MonitorPort  string // Monitor.Port
	PIDFile      string // PIDFile
	Signal       string // the program only sends a signal to one that runs
	Test         bool   // the program only checks the configuration
	Version      bool   // the program prints its version
}

// Flag is a flag of the command line, for the help and for what is made from it. The completions,
// the manual page and the help are made of it.
type Flag struct {
	Names []string // as they are written, the short one first; one dash is always enough
	Value string   // what the value is; "" means that the flag has none
	Usage string

	into any // a field of Flags: a *string if there is a value, otherwise a *bool
}

// IsPath reports whether the value of the flag is the path of a file or a directory. The word of
// Value decides.
func (f Flag) IsPath() bool {
	return slices.Contains([]string{"file", "directory", "folder"}, f.Value)
}

// AllFlags returns the flags in the order in which the help has them.
func AllFlags() []Flag { return new(Flags).table() }

// table returns all flags. Each sets a field of f. A new flag is a row here and a field of Flags.
func (f *Flags) table() []Flag {
	return []Flag{
		{[]string{"-c"}, "file", "configuration file", &f.Config},
		{[]string{"-t"}, "", "check the configuration, its files and the credentials, and exit",
			&f.Test},
		{[]string{"-dir"}, "directory", "directory of the JWTs; replaces the whole store section",
			&f.Dir},
		{[]string{"-ro"}, "", "take no pushes: serve what is put into the directory of -dir",
			&f.ReadOnly},
		{[]string{"-nsc"}, "folder", "folder in which nsc keeps an operator; replaces the whole " +
			"store section, and names the operator", &f.NSC},
		{[]string{"-primary"}, "url", "URL of the account server to follow", &f.Primary},
		{[]string{"-operator"}, "file", "operator JWT file", &f.Operator},
		{[]string{"-nats"}, "url", "NATS servers, separated by commas; replaces " +
			"nats.servers", &f.NATS},
		{[]string{"-creds"}, "file", "NATS credentials file", &f.Creds},
		{[]string{"-hp"}, "host:port", "where HTTP listens (default localhost:9090)", &f.HostPort},
		{[]string{"-a", "--addr", "--net"}, "host", "host where HTTP listens", &f.Host},
		{[]string{"-p", "--port"}, "port", "port where HTTP listens; -1 is any free port", &f.Port},
		{[]string{"-m", "--http_port"}, "port", "port for metrics and what is running " +
			"(default: where HTTP listens)", &f.MonitorPort},
		{[]string{"-P", "--pid"}, "file", "file for the process id", &f.PIDFile},
		{[]string{"-sl", "--signal"}, "command[=pid]", "send a signal to a server that runs, and " +
			"exit: reload, reopen or stop; pid may be a pid file", &f.Signal},
		{[]string{"-l", "--log"}, "file", "file for the log", &f.Log},
		{[]string{"--log_size_limit"}, "bytes",
			"size at which the log file is renamed and begins anew",
			&f.LogSizeLimit},
		{[]string{"-s", "--syslog"}, "", "log to the syslog of this system", &f.Syslog},
		{[]string{"-r", "--remote_syslog"}, "url", "log to another syslog, such as udp://host:514",
			&f.RemoteSyslog},
		{[]string{"-D"}, "", "lines for debugging", &f.Debug},
		{[]string{"-V"}, "", "a line for each request", &f.Trace},
		{[]string{"-DV"}, "", "both -D and -V", &f.Both},
		{[]string{"-dump"}, "", "log the configuration as JSON after the start, without passwords",
			&f.Dump},
		{[]string{"-v", "--version"}, "", "print the version and exit", &f.Version},
	}
}

// printUsage writes the help.
func printUsage(w io.Writer) {
	fmt.Fprintf(w, "Usage: nats-account-server [flags]\n\n")
	for _, f := range AllFlags() {
		fmt.Fprintf(w, "  %s\n    \t%s\n", f.Synopsis(), f.Usage)
	}
	fmt.Fprintf(w, "  -h, --help\n    \tprint this and exit\n")
}

// Synopsis returns the names of the flag and its value: "-P, --pid file".
func (f Flag) Synopsis() string {
	return strings.TrimSpace(strings.Join(f.Names, ", ") + " " + f.Value)
}

// ParseFlags parses the command line. It writes what is wrong, and the help for -h, to usage. The
// error for -h is flag.ErrHelp. An argument that belongs to no flag is an error: the flags after it
// would be ignored, and so would a file name without -c. One dash or two are the same, as package
// flag has it.
func ParseFlags(args []string, usage io.Writer) (Flags, error) {
	var f Flags
	// The caller decides how the program ends, so the package flag must not.
	s := flag.NewFlagSet("nats-account-server", flag.ContinueOnError)
	s.SetOutput(usage)
	s.Usage = func() { printUsage(usage) }
	for _, row := range f.table() {
		for _, name := range row.Names {
			switch into := row.into.(type) {
			case *string:
				s.StringVar(into, strings.TrimLeft(name, "-"), "", row.Usage)
			case *bool:
				s.BoolVar(into, strings.TrimLeft(name, "-"), false, row.Usage)
			}
		}
	}
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
//
// A flag that is not given leaves the value of the file. A flag can't set a value to the empty
// text, because "" means that it is not given. The directories come first, because they replace the
// whole store section.
func (l *loader) readFlags() {
	f, c := l.flags, &l.draft
	l.readStoreFlags()
	l.setKey("-primary", f.Primary, "primary")
	l.setKey("-operator", f.Operator, "operatorjwtpath")
	l.setKey("-creds", f.Creds, "nats.usercredentials")
	l.setKey("-nats", f.NATS, "nats.servers")
	if f.HostPort != "" {
		host, port, err := parseHostPort(f.HostPort)
		l.fail(err)
		c.HTTP.Host, c.HTTP.Port = host, port
	}
	l.setKey("-a", f.Host, "http.host")
	port := f.Port
	// -1 is nats-server's way to ask for any free port, for which the file has 0.
	if port == "-1" {
		port = "0"
	}
	l.setKey("-p", port, "http.port")
	l.setKey("-m", f.MonitorPort, "monitor.port")
	l.setKey("-P", f.PIDFile, "pid_file")
	l.readLogFlags()
	// These flags only add lines: they can't turn off what the file turns on.
	c.Logging.Debug = c.Logging.Debug || f.Debug || f.Both
	c.Logging.Trace = c.Logging.Trace || f.Trace || f.Both
}

// readLogFlags reads where the log goes. As in nats-server, a file comes before a syslog. So a flag
// for syslog takes the file of the configuration away. -l comes after that, so that a file on the
// command line is kept beside a syslog there. complete warns of it.
func (l *loader) readLogFlags() {
	f, c := l.flags, &l.draft.Logging
	if f.Syslog || f.RemoteSyslog != "" {
		c.File = ""
	}
	c.Syslog = c.Syslog || f.Syslog
	l.setKey("-r", f.RemoteSyslog, "logging.remote_syslog")
	l.setKey("-l", f.Log, "logging.file")
	l.setKey("--log_size_limit", f.LogSizeLimit, "logging.size_limit")
}

// setKey sets the key at path to the value of a flag. An empty value means that the flag is not
// given. The value is parsed like one in the file. So a flag has the same checks and the same words
// for mistakes.
func (l *loader) setKey(flag, value, path string) {
	if value == "" {
		return
	}
	k := findPath(l.keys, path)
	if err := k.set(l, k.name, path, natsconf.Value{Data: value}); err != nil {
		l.fail(fmt.Errorf("%s: %w", flag, err))
	}
	delete(l.at, path) // a mistake in a flag has no position in the file
}

// readStoreFlags replaces the whole store section but the size of the cache if a flag names a
// directory. -nsc wins over -dir, and replaces the operator too.
//
// What the file says about the store is meant for its own directory. A flag with another directory
// must not inherit a bucket or a permission to delete.
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

// parseHostPort parses host:port. Without a host it is every interface. An IPv6 address is in
// brackets: [::1]:9090.
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
