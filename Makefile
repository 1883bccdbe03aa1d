# make run    build and run the server on the sample configuration conf/quickstart.conf, with an empty store, and
#             a nats-server beside it unless one is there
# make demo   the main job once: push, a client connects, its user is revoked, the client is thrown out
# make test   every test, with the race detector where there is a C compiler; six to ten minutes on two processors
# make lint   formatting, vet, staticcheck, and what the binary may depend on
# make windows  the store, the main job and the service on Windows, under Wine: needs Debian's wine, wine64 and
#             gcc-mingw-w64-x86-64-win32
# make soak   everything at random against two models, for TIME=30s each: the program, and the store with its rules
# make soak-cluster  three account servers with one bucket, while processes and lines fail, for TIME=30s; CONTROLS=1 shows
#             that the tests find programs with a fault. The logs of one that fails are kept
# make natscli  natscli pushes and pulls over NATS: it is built, which takes minutes
# make bench  what starts, pushes and reads cost, in tables: RUN=get measures one, SCALE=1000000 starts with a
#             million accounts, RUN=cluster is of account servers with buckets (SCALE=100000: the accounts), BINARY=old
#             another program, OUT=new.txt is for benchstat; see internal/bench
# make microbench  the benchmarks of the packages
# make fuzz   every fuzz target for TIME=30s
# make generate  tables in the manual: of the keys, and of the differences from the original, from its tests
# make dist   the manual page and the completions for shells, in run/dist
# make clean  remove the program and run/, the store of the quick start

BIN := nats-account-server

# What has no race detector is built with these flags and without C everywhere: other flags would compile
# everything once more.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -trimpath)

.PHONY: build run demo test lint windows soak soak-cluster natscli bench microbench fuzz generate dist clean

build:
	CGO_ENABLED=0 go build -buildvcs=auto -o $(BIN) ./cmd/nats-account-server

# The program that runs both servers is built, and not started by `go run`, which would not pass a SIGTERM on. It
# is built like the server: with other flags everything would be compiled twice.
run: build
	@rm -rf run/quickstart
	CGO_ENABLED=0 go build -o run/demo ./internal/demo
	@./run/demo run ./$(BIN)

demo: build
	@CGO_ENABLED=0 go run ./internal/demo story ./$(BIN)

# The race detector works only with a C compiler. It leaves out the arithmetic of ed25519, which shares nothing and
# takes many times as long with it. TEST_REQUIRES lists what a run must not do without: race, strace, chromium.
RACE = $(shell go build -race -o /dev/null ./internal/testcheck 2>/dev/null && \
	echo -race -gcflags=crypto/internal/fips140/edwards25519/...=-race=false)

# The race detector lets each process sleep for a second at its end: here it does not. `make lint` vets.
test: export GORACE = atexit_sleep_ms=0
test:
	@race="$(RACE)"; if [ -z "$$race" ]; then \
		echo "without the race detector: it needs a C compiler"; \
		case " $$TEST_REQUIRES " in *" race "*) exit 1 ;; esac; \
	fi; \
	go run ./internal/testcheck $$race -vet=off -ldflags=-w -timeout 12m ./...

# Vet and staticcheck read what the tests compile: with the race detector where there is one. Other flags would
# compile every package once more. For other systems only types are checked, which takes seconds.
lint:
	@unformatted=$$(gofmt -l cmd internal); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	PLATFORMS="windows/amd64 darwin/arm64" CGO_ENABLED=0 go test -vet=off -run '^Test(Lines|Platforms)' ./internal/testcheck
	race="$(RACE)"; go vet $$race ./... && \
		tool=$$(CGO_ENABLED=0 go tool -n staticcheck) && GOFLAGS="$(GOFLAGS) $$race" $$tool ./...
	go mod tidy -diff
	@! go list -deps ./cmd/... | grep nats-server/v2 || { echo "nats-server is for tests only"; exit 1; }

# Packages that have files per operating system, and whose tests do without nats-server.
PER_OS := ./internal/jwtstore ./internal/process ./internal/winsvc

# Wine's files are in run/wine. Version 8 lacks a DLL that programs in Go want: testdata/wine has it.
windows: export WINEPREFIX = $(CURDIR)/run/wine
windows: export WINEDEBUG = -all
windows:
	@for p in wine x86_64-w64-mingw32-gcc; do command -v $$p >/dev/null || { echo "$$p is not installed"; exit 1; }; done
	mkdir -p run
	wineboot -i
	x86_64-w64-mingw32-gcc -shared -o $(WINEPREFIX)/drive_c/windows/system32/bcryptprimitives.dll \
		testdata/wine/bcryptprimitives.c -ladvapi32
	GOOS=windows go vet $(PER_OS)
	GOOS=windows go test -vet=off -exec wine -run '^Test(Dir|Memory|AReadOnlyFileIsRemoved)$$' ./internal/jwtstore
	GOOS=windows go test -vet=off -exec wine ./internal/winsvc
	WINE=wine go test $(RACE) -vet=off -ldflags=-w -run '^TestTheMainJobOnWindows$$' ./cmd/nats-account-server
	wineboot -k

TIME ?= 30s

soak:
	SOAK_TIME=$(TIME) go test $(RACE) -v -timeout 0 -run '^TestSoak$$' ./cmd/nats-account-server
	go test $(RACE) -v -timeout 0 -run '^TestModel$$' ./internal/accounts -model.time $(TIME)

soak-cluster: export CLUSTER_TIME = $(TIME)
soak-cluster: export CLUSTER_CONTROLS = $(CONTROLS)
soak-cluster:
	@dir=$$(mktemp -d) && \
	if go test $(RACE) -v -timeout 0 -artifacts -outputdir "$$dir" \
		-run '$(if $(CONTROLS),^TestClusterControls$$,^TestClusterSoak$$|^TestAPowerCutOfTheBucket$$)' ./cmd/nats-account-server; \
	then rm -r "$$dir"; else echo "the logs of the processes are in $$dir"; exit 1; fi

natscli:
	NATSCLI=1 TEST_REQUIRES=natscli go test -v -run '^TestNatscliPushesAndPulls$$' ./cmd/nats-account-server

# BENCH_CACHE is the directory of the stores, and on the disk that is measured. Without it that is a directory of the
# user's cache: 130 MB, and 900 MB with the store of 200,000 accounts. It is kept for the next time.
OUT ?= run/bench.txt

bench: export BENCH_TABLES = 1
bench: export BENCH_SCALE = $(SCALE)
bench: export BENCH_BINARY = $(abspath $(BINARY))
bench: export BENCH_OUT = $(abspath $(OUT))
bench:
	@mkdir -p $(dir $(OUT))
	@cd internal/bench && go test -count 1 -timeout 0 -run '^TestTables$$/^$(RUN)'

microbench:
	go test -run '^$$' -bench . -benchtime 1s ./...

# TIME is for each target: make fuzz TIME=10m
fuzz:
	@for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(TIME) -fuzzminimizetime 200x $$p || exit 1; \
		done; \
	done

generate:
	go test -run '^TestTheManualHasTheKeysThatThereAre$$' ./internal/config -update
	go test -run '^TestTheManualHasTheDifferencesThatThereAre$$' ./cmd/nats-account-server -update

dist: build
	mkdir -p run/dist
	./$(BIN) man >run/dist/$(BIN).1
	./$(BIN) completion bash >run/dist/$(BIN).bash
	./$(BIN) completion zsh >run/dist/_$(BIN)
	./$(BIN) completion fish >run/dist/$(BIN).fish

clean:
	rm -rf $(BIN) run
