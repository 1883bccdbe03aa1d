package claimdiff

// Effects is the table of the leaves.
var Effects = effects
