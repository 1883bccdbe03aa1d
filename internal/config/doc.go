// Package config turns a configuration file and the command line into a Config that holds only what is valid.
package config
