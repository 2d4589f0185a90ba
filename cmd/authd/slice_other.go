//go:build !linux

package main

import "time"

const short = 0

func setSlices(time.Duration) error { return nil }
