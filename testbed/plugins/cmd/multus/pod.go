package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// pod is the part of a pod that matters here.
type pod struct {
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		UID         string            `json:"uid"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

func (p *pod) path() string {
	return fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", p.Metadata.Namespace, p.Metadata.Name)
}

// pod reads the pod that the runtime names, and makes sure that it is that one and not a later one of its name.
func (i *invocation) pod(ctx context.Context) (*pod, error) {
	given := map[string]string{}
	for _, pair := range strings.Split(i.args.Args, ";") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			given[key] = value
		}
	}
	namespace, name, uid := given["K8S_POD_NAMESPACE"], given["K8S_POD_NAME"], given["K8S_POD_UID"]
	if !isName(namespace) || !isName(name) {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables,
			"CNI_ARGS names no pod: K8S_POD_NAMESPACE and K8S_POD_NAME are needed", i.args.Args)
	}
	p := &pod{}
	p.Metadata.Namespace, p.Metadata.Name = namespace, name
	if err := i.api.get(ctx, p.path(), p); err != nil {
		code := types.ErrTryAgainLater
		if errors.Is(err, errNotFound) {
			code = types.ErrUnknownContainer
		}
		return nil, types.NewError(code, fmt.Sprintf("cannot read pod %s/%s", namespace, name), err.Error())
	}
	// A static pod's runtime knows it by the hash of its file, not by the UID of its mirror.
	_, static := p.Metadata.Annotations["kubernetes.io/config.mirror"]
	if uid != "" && uid != p.Metadata.UID && !static {
		return nil, types.NewError(types.ErrUnknownContainer,
			fmt.Sprintf("pod %s/%s of UID %s is gone: one of UID %s has its name", namespace, name, uid, p.Metadata.UID), "")
	}
	return p, nil
}

// networkStatus is one element of the pod's network-status.
type networkStatus struct {
	Name      string    `json:"name"`
	Interface string    `json:"interface,omitempty"`
	IPs       []string  `json:"ips,omitempty"`
	MAC       string    `json:"mac,omitempty"`
	Default   bool      `json:"default,omitempty"`
	Gateway   []string  `json:"gateway,omitempty"`
	DNS       types.DNS `json:"dns"`
}

func statusOf(d delegate, result types.Result, isDefault bool) (*networkStatus, error) {
	r, err := current.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", d.Name, err)
	}
	s := &networkStatus{Name: d.Name, Interface: d.IfName, Default: isDefault, DNS: r.DNS}
	for _, link := range r.Interfaces {
		if link.Name == d.IfName && link.Sandbox != "" {
			s.MAC = link.Mac
		}
	}
	for _, ip := range r.IPs {
		s.IPs = append(s.IPs, ip.Address.IP.String())
		if isDefault && ip.Gateway != nil {
			s.Gateway = append(s.Gateway, ip.Gateway.String())
		}
	}
	return s, nil
}

// report writes the pod's network-status.
func (i *invocation) report(ctx context.Context, pod *pod, plan *plan, results []types.Result) error {
	statuses := make([]*networkStatus, 0, len(results))
	for n, result := range results {
		s, err := statusOf(plan.Delegates[n], result, n == 0)
		if err != nil {
			return err
		}
		statuses = append(statuses, s)
	}
	text, err := json.MarshalIndent(statuses, "", "    ")
	if err != nil {
		return err
	}
	// With the UID, so that a later pod of the same name is never told this one's addresses.
	change := map[string]any{"metadata": map[string]any{
		"uid": pod.Metadata.UID, "annotations": map[string]string{statusAnnotation: string(text)},
	}}
	if err := i.api.patch(ctx, pod.path()+"/status", change); err != nil {
		return types.NewError(types.ErrTryAgainLater,
			fmt.Sprintf("cannot write the network-status of pod %s/%s", pod.Metadata.Namespace, pod.Metadata.Name), err.Error())
	}
	return nil
}
