package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/containernetworking/cni/pkg/utils"
)

const (
	networksAnnotation = "k8s.v1.cni.cncf.io/networks"
	statusAnnotation   = "k8s.v1.cni.cncf.io/network-status"
	defaultAnnotation  = "v1.multus-cni.io/default-network"
)

// selection is one network that a pod asks for: an element of the annotation's list.
//
// The specification has more keys (default-route, cni-args, bandwidth, portMappings, …): an annotation with one of them is
// refused, since a test that relied on it would prove nothing.
type selection struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	Interface string   `json:"interface"`
	IPs       []string `json:"ips"`
	MAC       string   `json:"mac"`
}

// parseSelections reads both forms of the annotation: a JSON list of selections, or namespace/name@interface with commas between.
func parseSelections(annotation, namespace string) ([]selection, error) {
	annotation = strings.TrimSpace(annotation)
	selections := []selection{}
	if strings.ContainsAny(annotation, "[{\"") {
		decoder := json.NewDecoder(bytes.NewReader([]byte(annotation)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&selections); err != nil {
			return nil, fmt.Errorf("the list of networks %s cannot be read: %w", annotation, err)
		}
		if _, err := decoder.Token(); err != io.EOF {
			return nil, fmt.Errorf("the list of networks %s has something after its end", annotation)
		}
	} else {
		for _, item := range strings.Split(annotation, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			var s selection
			var hasNamespace, hasInterface bool
			rest := item
			if s.Namespace, rest, hasNamespace = strings.Cut(item, "/"); !hasNamespace {
				s.Namespace, rest = "", item
			}
			if s.Name, s.Interface, hasInterface = strings.Cut(rest, "@"); hasInterface && s.Interface == "" {
				return nil, fmt.Errorf("network %q names no interface after its @", item)
			}
			if hasNamespace && s.Namespace == "" {
				return nil, fmt.Errorf("network %q names no namespace before its /", item)
			}
			selections = append(selections, s)
		}
	}
	for n := range selections {
		s := &selections[n]
		if s.Namespace == "" {
			s.Namespace = namespace
		}
		if !isName(s.Name) || !isName(s.Namespace) {
			return nil, fmt.Errorf("network %q in namespace %q is not a name of Kubernetes", s.Name, s.Namespace)
		}
		if s.Interface != "" {
			if err := utils.ValidateInterfaceName(s.Interface); err != nil {
				return nil, fmt.Errorf("network %s/%s: interface %q: %w", s.Namespace, s.Name, s.Interface, err)
			}
		}
	}
	return selections, nil
}

// isName keeps what a user wrote from reaching another path of the API.
func isName(name string) bool {
	if name == "" || len(name) > 253 || strings.Trim(name, "-.") != name {
		return false
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}
