//go:build tools

// Package tools pins the programs of upstream Spiderpool that ours are measured beside.
package tools

import (
	_ "github.com/spidernet-io/spiderpool/cmd/coordinator"
	_ "github.com/spidernet-io/spiderpool/cmd/spiderpool-agent"
)
