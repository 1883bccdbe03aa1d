package natsconf_test

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheShippedFilesMeanTheSameToNatsServer(t *testing.T) {
	t.Chdir("../../conf")
	files, err := filepath.Glob("*.conf")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := agree(string(text)); diff != "" {
			t.Errorf("%s\n%s", name, diff)
		}
	}
}
