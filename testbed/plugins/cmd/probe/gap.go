package main

import (
	"slices"
	"time"
)

// longestGap is the longest time between two neighbours of the times, in whatever order they come.
func longestGap(times []time.Time) time.Duration {
	slices.SortFunc(times, time.Time.Compare)
	longest := time.Duration(0)
	for n := 1; n < len(times); n++ {
		longest = max(longest, times[n].Sub(times[n-1]))
	}
	return longest
}
