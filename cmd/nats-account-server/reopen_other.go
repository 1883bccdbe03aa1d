//go:build !unix

package main

import "os"

// reopenSignals is empty: only a reload opens files anew here.
var reopenSignals []os.Signal
