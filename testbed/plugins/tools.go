//go:build tools

// Package plugins pins upstream's own tool, so that it is built from the same sources as the rest.
package plugins

import _ "github.com/containernetworking/cni/cnitool"
