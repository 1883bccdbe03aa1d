package logging

// Functions that only a full disk or a wrong clock reaches, for tests.
var (
	CutBack = cutBack
	Encode  = encode
)
