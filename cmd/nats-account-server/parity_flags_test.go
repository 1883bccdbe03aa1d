package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nats-account-server/internal/jwttest"
)

func commandLine(t *testing.T) []behaviour {
	k := newParityEnv(t)
	jwttest.File(t, k.dir, "afile", []byte("x"))
	jwttest.File(t, k.dir, "home.conf", []byte("http { port: 0 }"))
	nsc := filepath.Join(k.dir, "OP")
	for _, dir := range []string{".nsc", "accounts"} {
		if err := os.MkdirAll(filepath.Join(nsc, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	jwttest.File(t, nsc, "OP.jwt", []byte(k.op.Token(t)))
	return []behaviour{
		row("every flag of either version is known",
			k.ends(0,
				flags("-t -c home.conf -dir d -operator op.jwt -nats nats://127.0.0.1:1 -creds "+
					"sys.creds -hp 127.0.0.1:0 -D -V -DV -dump"), "is valid")),
		row("-nsc and -ro, which 1.0.3 refuses, work as in 0.8.4",
			k.ends(0, flags("-t -nsc OP -ro"), "is valid", "!removed")),
		row("-primary is known, and makes a replica as in 0.8.4",
			k.ends(0, flags("-t -operator op.jwt -primary http://127.0.0.1:1"), "is valid")),
		row("one or two dashes, = or a space",
			k.ends(0, flags("--t -hp=127.0.0.1:0 --c home.conf"), "is valid")),
		row("an argument that belongs to no flag is exit code 2, where the original ignores it "+
			"and all flags after it", k.ends(2, flags("home.conf -hp 127.0.0.1:0"),
			`the argument "home.conf" belongs to no flag: give a configuration file as -c file`)),
		row("such an argument with -t is exit code 2 too",
			k.ends(2, flags("-t home.conf"),
				`the argument "home.conf" belongs to no flag`, "!is valid")),
		row("an unknown flag is exit code 2 and the usage",
			k.ends(2, flags("-bogus"), "flag provided but not defined: -bogus\n", "-creds")),
		row("-h is the usage and exit code 0", k.ends(0, flags("-h"), "-creds")),
		row("-help too", k.ends(0, flags("-help"), "-creds")),
		row("-v, which neither has, is the version",
			k.ends(0, flags("-v"), "nats-account-server: v")),
		row("-D, -V and -DV have an effect, as in 0.8.4", shownBy("TestTheFlagsDAndVAreHonoured")),

		row("a flag wins over the file, the file over the defaults",
			k.dumps(anyPort+"nats { servers: [nats://a:1, nats://b:1], connecttimeout: 1234 }",
				flags("-nats nats://127.0.0.1:1"),
				"NATS.Servers", `["nats://127.0.0.1:1"]`, "NATS.ConnectTimeout", "1234",
				"NATS.ReconnectWait",
				"1000")),
		row("a flag can't switch off what the file switches on",
			k.dumps(anyPort+"logging { debug: true }", flags("-D=false -V=false"),
				"Logging.Debug", "true", "Logging.Trace", "false")),
		row("-D, -V and -DV are in the dump",
			k.dumps(anyPort, flags("-DV"), "Logging.Debug", "true", "Logging.Trace", "true")),
		row("-dir replaces the whole store section",
			k.dumps(anyPort+"store { dir: other, shard: true, cleanupinterval: 5000 }",
				flags("-dir flagged"),
				"Store.Dir", `"$WORK/flagged"`, "Store.Shard", "false",
				"Store.CleanupInterval", "0")),
		row("-nsc replaces it too, beats -dir, and finds the operator",
			k.dumps(anyPort+"store { dir: other, shard: true }", flags("-dir flagged -nsc OP"),
				"Store.Dir", `""`, "Store.Shard", "false", "Store.NSC",
				`"$WORK/OP"`, "OperatorJWTPath",
				`"$WORK/OP/OP.jwt"`)),
		row("-hp replaces host and port, and without a host it is every interface",
			k.dumps("http { host: \"127.0.0.1\", port: 70 }", flags("-hp :0"), "HTTP.Host", `""`,
				"HTTP.Port", "0")),
		row("-operator and -creds are their keys",
			k.dumps(anyPort+"operatorjwtpath: nope", flags("-operator op.jwt -creds sys.creds"),
				"OperatorJWTPath", `"$WORK/op.jwt"`, "NATS.UserCredentials", `"$WORK/sys.creds"`)),
		row("~ is the home directory in -c, -dir, -creds",
			k.dumps("", flags("-c ~/home.conf -hp 127.0.0.1:0 -dir ~/hometown -creds ~/sys.creds"),
				"Store.Dir", `"$WORK/hometown"`, "NATS.UserCredentials", `"$WORK/sys.creds"`)),
		row("~ is the home directory in the file too, where the original makes "+
			"a directory of that name",
			k.dumps(anyPort+"store { dir: \"~/inside\" }", nil, "Store.Dir", `"$WORK/inside"`)),
		row("a relative path in the file is relative to the working directory",
			k.dumps(anyPort+"store { dir: near }", nil, "Store.Dir", `"$WORK/near"`)),

		row("-hp without a port", k.ends(1, flags("-hp 1234"),
			"error parsing hostport: address 1234: missing port in address")),
		row("-hp with a word for a port", k.ends(1, flags("-hp 127.0.0.1:abc"),
			`error parsing hostport: strconv.Atoi: parsing "abc": invalid syntax`)),
		row("-hp with a port that does not exist",
			k.ends(1, flags("-hp 127.0.0.1:70000"),
				"error creating listener: listen tcp: address 70000: invalid port")),
		row("a configuration file that is not there",
			k.ends(1, flags("-c /nonexist.conf"),
				"error reading configuration file: open /nonexist.conf: "+
					"no such file or directory")),
		row("an empty store directory", k.ends(1, flags("-c", k.file(t, `store { dir: "" }`)),
			"store directory is required")),
		row("a broken file is named before what is wrong with -nsc",
			k.ends(1, flags("-nsc /nope -c", k.file(t, "http {")), "never closed")),
		row("an operator file that is not there",
			k.ends(1, flags("-operator /nope -hp 127.0.0.1:0"),
				"open /nope: no such file or directory")),
		row("an operator file with another JWT",
			k.ends(1, flags("-operator sys.jwt -hp 127.0.0.1:0"), "not operator claim")),
		row("a system account file with another JWT",
			k.ends(1, flags("-operator op.jwt -c", k.file(t, "systemaccountjwtpath: op.jwt")),
				"not account claim")),
		row("an operator file with BEGIN and END, which the original can't read",
			shownBy("TestOperatorFilesAreBareOrDecorated")),
		row("line ends of the operator's and the system account's file are served too",
			k.servesFilesVerbatim()),
		row("a system account that the operator did not sign, which the original serves",
			k.foreignSystemAccount()),
		row("a system account that the operator does not name", k.anotherSystemAccount()),
		row("-dir that is a file", k.ends(1, flags("-hp 127.0.0.1:0 -dir afile"),
			"mkdir "+k.dir+"/afile: not a directory")),
		row("-t finds it too", k.ends(1, flags("-t -dir afile"),
			"store.dir "+k.dir+"/afile can't be used: mkdir "+k.dir+"/afile: not a directory")),
		row("-t makes neither a directory nor a file", k.checksOnly()),
		row("-dir below a file, where the original panics",
			k.ends(1, flags("-hp 127.0.0.1:0 -dir afile/x"), "not a directory", "!goroutine")),
		row("-ro without -dir has no effect, as in 0.8.4, and says so",
			k.ends(1, flags("-t -ro -c", k.file(t, "store { dir: mine }")),
				"-ro has no effect without -dir")),
		row("an empty store directory that is read-only is 0.8.4's empty store",
			k.dumps(anyPort+`store { dir: "", readonly: true }`, nil, "Store.Dir",
				`""`, "Store.ReadOnly", "true")),
		row("-ro of a directory that is not there",
			k.ends(1, flags("-hp 127.0.0.1:0 -ro -dir /nope"), "the path [/nope] doesn't exist")),
		row("a port that is in use is exit code 1", shownBy("TestAPortInUseIsOneLineAndExitCode1")),
		row("NATS that closes for good is no end, where 1.0.3 exits with 255",
			shownBy("TestAnAuthorizationFailureIsNeverTheEnd")),
		row("SIGINT is an empty line, a line in the log, and exit code 0", k.interrupted()),
		row("SIGTERM is as orderly, where the original is killed by it",
			shownBy("TestSIGTERMStopsInOrderWithoutAnError")),
		row("SIGQUIT is a stack dump", k.quits()),
		row("SIGINT is not held up while NATS is silent",
			shownBy("TestHTTPLivesWhileNATSIsSilent")),
	}
}

// servesFilesVerbatim: what is around the JWT in a file is part of the answer.
func (k *parityEnv) servesFilesVerbatim() func(*testing.T) {
	return func(t *testing.T) {
		operator, system := k.op.Token(t)+"\n\n", string(k.op.SystemAccount(t))+"\r\n"
		jwttest.File(t, k.dir, "opn.jwt", []byte(operator))
		jwttest.File(t, k.dir, "sysn.jwt", []byte(system))
		p := start(t, k.dir, nil, flags("-operator opn.jwt -c",
			k.file(t, anyPort+"systemaccountjwtpath: sysn.jwt"))...)
		url := p.url()
		for path, want := range map[string]string{"operator": operator,
			"accounts/" + k.op.System.ID: system} {
			if status, body := get(t, url+"/jwt/v1/"+path); status != http.StatusOK ||
				body != want {
				t.Errorf("%s: %d %q", path, status, body)
			}
		}
		p.term()
	}
}

// checksOnly: -t is good, and the directory is what it was.
func (k *parityEnv) checksOnly() func(*testing.T) {
	return func(t *testing.T) {
		dir := t.TempDir()
		text := fmt.Sprintf("operator: %s/op.jwt, store { dir: a/b }, logging { audit: audit.log }",
			k.dir)
		path := jwttest.File(t, dir, "server.conf", []byte(text))
		before, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, dir, nil, "-t", "-c", path)
		if code := p.exited(); code != 0 {
			t.Errorf("exit code %d\n%s", code, p.log)
		}
		after, err := os.Stat(dir)
		names, _ := os.ReadDir(dir)
		if err != nil || len(names) != 1 || !before.ModTime().Equal(after.ModTime()) {
			t.Errorf("the directory has %v and was changed at %s, %v", names, after.ModTime(), err)
		}
	}
}

func (k *parityEnv) foreignSystemAccount() func(*testing.T) {
	return func(t *testing.T) {
		jwttest.File(t, k.dir, "foreign.jwt", jwttest.NewOperator(t).Account(t, k.op.System))
		k.ends(1, flags("-operator op.jwt -hp 127.0.0.1:0 -c",
			k.file(t, "systemaccountjwtpath: foreign.jwt")),
			"error loading system account from ")(t)
	}
}

func (k *parityEnv) anotherSystemAccount() func(*testing.T) {
	return func(t *testing.T) {
		other := jwttest.NewAccount(t)
		jwttest.File(t, k.dir, "other.jwt", k.op.Account(t, other))
		k.ends(1, flags("-operator op.jwt -c", k.file(t, "systemaccountjwtpath: other.jwt")),
			fmt.Sprintf("the Operator System Account %s differs from configured System Account %s",
				k.op.System.ID, other.ID))(t)
	}
}

func (k *parityEnv) interrupted() func(*testing.T) {
	return func(t *testing.T) {
		out := &logBuffer{}
		p := launchInto(t, exec.Command(binary, "-hp", "127.0.0.1:0"), &logBuffer{}, out)
		p.url()
		p.signal(os.Interrupt)
		p.wait("received sig-interrupt, shutting down")
		if code := p.exited(); code != 0 || out.String() != "\n" {
			t.Errorf("exit code %d, on standard output %q", code, out)
		}
	}
}

func (k *parityEnv) quits() func(*testing.T) {
	return func(t *testing.T) {
		p := start(t, k.dir, nil, "-hp", "127.0.0.1:0")
		p.url()
		p.signal(syscall.SIGQUIT)
		if code := p.exited(); code != 2 || !strings.Contains(p.log.String(), "goroutine 1") {
			t.Errorf("exit code %d\n%s", code, p.log)
		}
	}
}
