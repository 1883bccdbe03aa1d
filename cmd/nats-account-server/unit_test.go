package main_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const unitFile = "../../conf/nats-account-server.service"

// The unit gives the program nothing but its directories and the network.
func TestTheUnitIsHardened(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, want := range []string{
		"Type=notify-reload", "DynamicUser=yes", "ProtectSystem=strict", "ProtectHome=yes",
		"StateDirectory=nats-account-server", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
		"SystemCallFilter=@system-service", "MemoryDenyWriteExecute=yes", "RestrictNamespaces=yes",
		"PrivateDevices=yes", "PrivateTmp=yes", "ProtectKernelModules=yes", "WatchdogSec=60",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the unit lacks %s", want)
		}
	}
	if strings.Contains(string(text), "ReadWritePaths") {
		t.Error("the unit makes more writable than its own directories")
	}
}

func TestSystemdFindsLittleExposureInTheUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip(err)
	}
	c := exec.Command("systemd-analyze", "security", "--offline=true", unitFile)
	out, err := c.CombinedOutput()
	level := regexp.MustCompile(`Overall exposure level .*: (\d+\.\d+) `).FindSubmatch(out)
	if level == nil {
		t.Skipf("%v: %s", err, out)
	}
	if n, err := strconv.ParseFloat(string(level[1]), 64); err != nil || n >= 2 {
		t.Errorf("the exposure is %s\n%s", level[1], out)
	}
}
