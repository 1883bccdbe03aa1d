package main_test

import "testing"

func stores(t *testing.T) []behaviour      { return nil }
func overNATS(t *testing.T) []behaviour    { return nil }
func replication(t *testing.T) []behaviour { return nil }
func logLines(t *testing.T) []behaviour    { return nil }
func startToEnd(t *testing.T) []behaviour  { return nil }
func defects(t *testing.T) []behaviour     { return nil }
