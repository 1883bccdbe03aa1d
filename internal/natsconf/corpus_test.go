package natsconf_test

import (
	_ "embed"
	"strconv"
	"strings"
	"testing"
)

// corpus has one Go string literal per line. A line that begins with # is a heading for the next
// ones.
//
//go:embed testdata/corpus.txt
var corpus string

func corpusTexts(t testing.TB) []string {
	t.Helper()
	var texts []string
	for i, line := range strings.Split(corpus, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		text, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("corpus.txt:%d: %v", i+1, err)
		}
		texts = append(texts, text)
	}
	return texts
}

func TestTheCorpusMeansTheSameToNatsServer(t *testing.T) {
	setEnvironment(t)
	for _, text := range corpusTexts(t) {
		if diff := agree(text); diff != "" {
			t.Errorf("%q\n%s", text, diff)
		}
	}
}

// environment holds the environment variables that the corpus uses.
var environment = map[string]string{
	"ENVX": `7`, "ENVS": `"a b"`, "ENVB": `a b`, "ENVM": `{x: 1}`, "ENVL": `[1, 2 ]`, "ENVE": ``,
	"ENVC": `a: 1`, "ENVV": `$ENVX`, "ENVSELF": `$ENVSELF`, "ENVNL": "foo\nbar", "ENVH": `#x`,
	"ENV_5": `5k`, "ENVT": `true`, "ENVD": `2006-01-02T15:04:05Z`, "ENVQ": "7\n", "ENVW": ` 7`,
	"ENVZ": "\n7",
	"ENVK": `7,`, "ENVG": `7;;`,
	"ENVI": `7 #c`, "ENVO": "(x\n)\n", "ENVU": `x: 1`, "ENVJ": `'`,
	"ENVN": `1, b: 2`, "ENVURLS": `nats://a:1,nats://b:2`, "ENVP": `7}`, "ENVNUMBERS": `[1,2]`,
}

func setEnvironment(t testing.TB) {
	for name, text := range environment {
		t.Setenv(name, text)
	}
}
