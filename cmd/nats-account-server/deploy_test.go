package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"go.yaml.in/yaml/v3"

	"nats-account-server/internal/natstest"
)

// composeFile is what the test looks at in conf/compose/compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Command   []string
		Volumes   []string
		Ports     []string
		DependsOn map[string]struct{ Condition string } `yaml:"depends_on"`
	}
	Volumes map[string]any
}

// The files of the compose file are used as they stand but for addresses and for the host's paths in
// place of the container's.
func TestTheComposeFileWorksAtOnce(t *testing.T) {
	t.Parallel()
	const dir = "../../conf/compose/"
	var c composeFile
	decodeYAML(t, mustReadFile(t, dir+"compose.yaml"), &c)
	program := c.Services["account-server"]
	paths := []string{"/nats/store", t.TempDir()}
	for _, v := range program.Volumes {
		host, inside, _ := strings.Cut(strings.TrimSuffix(v, ":ro"), ":")
		if _, isNamed := c.Volumes[host]; isNamed {
			continue
		}
		path, err := filepath.Abs(dir + host)
		if _, statErr := os.Stat(path); err != nil || statErr != nil {
			t.Fatal(v, err, statErr)
		}
		paths = append(paths, inside, path)
	}
	natsPort := freePort(t)
	addresses := []string{
		"nats://nats-1:4222", fmt.Sprintf("nats://127.0.0.1:%d", natsPort),
		"nats://nats-2:4222", fmt.Sprintf("nats://127.0.0.1:%d", natsPort),
	}
	// The configuration file is a copy, in which the paths are the host's.
	inside := strings.NewReplacer(slices.Concat(paths, addresses)...)
	conf := filepath.Join(t.TempDir(), "account-server.conf")
	text := inside.Replace(mustReadFile(t, inside.Replace(program.Command[1])))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, ".", nil, program.Command[0], conf, "-hp", "127.0.0.1:0")
	url := p.url()

	// A nats-server waits until the account server is healthy.
	first := c.Services["nats-1"]
	if first.DependsOn["account-server"].Condition != "service_healthy" {
		t.Errorf("nats-1 depends on %v", first.DependsOn)
	}
	text, _, _ = strings.Cut(mustReadFile(t, dir+"nats-server.conf"), "cluster {")
	text = strings.NewReplacer(slices.Concat(paths, []string{
		"http://account-server:9090", url, "0.0.0.0:4222", fmt.Sprintf("127.0.0.1:%d", natsPort),
	})...).Replace(text)
	n := natstest.Start(t, text)
	defer natstest.Stop(n)
	p.wait("connected to NATS for JWT syncing")
	token := mustReadFile(t, "../../testdata/quickstart/account.jwt")
	claims, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	mustPush(t, url, claims.Subject, []byte(token))
	user := mustReadFile(t, "../../testdata/quickstart/user.creds")
	natstest.Connect(t, n.ClientURL(), []byte(user)).Close()
	p.term()
}

// kubernetesObject is what the test looks at in a file for Kubernetes.
type kubernetesObject struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Replicas int
		Ports    []struct {
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Annotations map[string]string }
			Spec     struct {
				Containers []container
				Volumes    []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
				}
			}
		}
		VolumeClaimTemplates []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
	}
}

type container struct {
	Args           []string
	Ports          []struct{ ContainerPort int }
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	VolumeMounts   []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// The configuration, the probes and the mounted paths of the file for Kubernetes belong together, and
// the program runs with them.
func TestTheKubernetesFileWorks(t *testing.T) {
	t.Parallel()
	objects := kubernetesObjects(t, "../../conf/kubernetes/account-server.yaml")
	set := objects["StatefulSet"]
	pod := set.Spec.Template.Spec
	c := pod.Containers[0]
	if set.Spec.Replicas != 1 || len(c.Args) != 2 {
		t.Fatalf("%d replicas, arguments %q", set.Spec.Replicas, c.Args)
	}
	var mounted []string
	for _, m := range c.VolumeMounts {
		mounted = append(mounted, m.Name)
	}
	declared := []string{set.Spec.VolumeClaimTemplates[0].Metadata.Name}
	for _, v := range pod.Volumes {
		declared = append(declared, v.Name)
	}
	slices.Sort(mounted)
	slices.Sort(declared)
	if !slices.Equal(mounted, declared) {
		t.Errorf("mounted are %q of the volumes %q", mounted, declared)
	}
	text, isThere := objects["ConfigMap"].Data[filepath.Base(c.Args[1])]
	if !isThere || filepath.Dir(c.Args[1]) != "/nats/conf" {
		t.Fatalf("%s is not in the ConfigMap", c.Args[1])
	}
	quickstart, err := filepath.Abs("../../testdata/quickstart")
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "nats-account-server.conf")
	text = strings.NewReplacer("/nats/secret", quickstart, "/nats/store", t.TempDir(),
		"nats://nats:4222", "nats://127.0.0.1:1").Replace(text)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, ".", nil, c.Args[0], conf, "-hp", "127.0.0.1:0")
	url := p.url()
	for _, path := range []string{
		c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path,
		set.Spec.Template.Metadata.Annotations["prometheus.io/path"],
	} {
		natstest.Eventually(t, path+" answers 200", func() bool {
			status, _ := get(t, url+path)
			return status == http.StatusOK
		})
	}
	p.term()
}

// What the packages contain exists, or `make dist` makes it, and the unit finds its program and its
// configuration where the packages put them.
func TestThePackagesHaveWhatTheUnitStarts(t *testing.T) {
	t.Parallel()
	var release struct {
		Builds []struct{ Main, Binary string }
		NFPMs  []struct {
			Contents []struct{ Src, Dst string }
		} `yaml:"nfpms"`
	}
	decodeYAML(t, mustReadFile(t, "../../.goreleaser.yaml"), &release)
	if b := release.Builds[0]; b.Main != "./cmd/nats-account-server" ||
		b.Binary != "nats-account-server" {
		t.Errorf("it builds %+v", b)
	}
	installed := map[string]bool{"/usr/bin/" + release.Builds[0].Binary: true}
	made := strings.ReplaceAll(mustReadFile(t, "../../Makefile"), "$(BIN)", "nats-account-server")
	for _, c := range release.NFPMs[0].Contents {
		installed[c.Dst] = true
		if _, err := os.Stat("../../" + c.Src); err != nil && !strings.Contains(made, " >"+c.Src+"\n") {
			t.Errorf("%s does not exist, and make dist does not make it", c.Src)
		}
	}
	unit := mustReadFile(t, "../../conf/nats-account-server.service")
	_, start, _ := strings.Cut(unit, "\nExecStart=")
	start, _, _ = strings.Cut(start, "\n")
	for _, path := range strings.Fields(start) {
		if strings.HasPrefix(path, "/") && !installed[path] {
			t.Errorf("the unit starts %q, but no package has %s", start, path)
		}
	}
}

func kubernetesObjects(t *testing.T, path string) map[string]kubernetesObject {
	t.Helper()
	objects := map[string]kubernetesObject{}
	d := yaml.NewDecoder(strings.NewReader(mustReadFile(t, path)))
	for {
		var o kubernetesObject
		err := d.Decode(&o)
		if err == io.EOF {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		objects[o.Kind] = o
	}
}

func decodeYAML(t *testing.T, text string, v any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}

func mustReadFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
