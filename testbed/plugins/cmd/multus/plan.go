package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// plan is all networks of one container, in their order, the default network first.
type plan struct {
	ContainerID string      `json:"containerID"`
	NetNS       string      `json:"netns"`
	Args        [][2]string `json:"args"`
	Delegates   []delegate  `json:"delegates"`
}

// delegate is one network of a container.
type delegate struct {
	// Name is namespace/name of its definition, or the name of its configuration where it has none.
	Name         string         `json:"name"`
	IfName       string         `json:"ifname"`
	Config       []byte         `json:"config"`
	Capabilities map[string]any `json:"capabilities,omitempty"`
}

// plan decides which networks the pod gets.
func (i *invocation) plan(ctx context.Context, pod *pod) (*plan, error) {
	p := &plan{ContainerID: i.args.ContainerID, NetNS: i.args.Netns}
	for _, pair := range strings.Split(i.args.Args, ";") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			p.Args = append(p.Args, [2]string{key, value})
		}
	}
	first, err := i.defaultDelegate(ctx, pod)
	if err != nil {
		return nil, err
	}
	p.Delegates = []delegate{*first}
	selections, err := parseSelections(pod.Metadata.Annotations[networksAnnotation], pod.Metadata.Namespace)
	if err != nil {
		return nil, badAnnotation(networksAnnotation, pod, err)
	}
	taken := map[string]bool{first.IfName: true}
	for n, s := range selections {
		ifName := s.Interface
		if ifName == "" {
			ifName = fmt.Sprintf("net%d", n+1)
		}
		if taken[ifName] {
			return nil, badAnnotation(networksAnnotation, pod, fmt.Errorf("two networks want the interface %s", ifName))
		}
		taken[ifName] = true
		d, err := i.delegateOf(ctx, s, ifName)
		if err != nil {
			return nil, err
		}
		p.Delegates = append(p.Delegates, *d)
	}
	return p, nil
}

// defaultDelegate is the network of the interface that the runtime names: the pod's own choice, or the cluster's.
func (i *invocation) defaultDelegate(ctx context.Context, pod *pod) (*delegate, error) {
	chosen, overridden := pod.Metadata.Annotations[defaultAnnotation]
	if !overridden || strings.TrimSpace(chosen) == "" {
		list, name, err := i.namedClusterNetwork(ctx)
		if err != nil {
			return nil, types.NewError(types.ErrInvalidNetworkConfig, "cannot read the cluster's network "+i.ClusterNetwork, err.Error())
		}
		return &delegate{Name: name, IfName: i.args.IfName, Config: list.Bytes}, nil
	}
	selections, err := parseSelections(chosen, i.MultusNamespace)
	if err == nil && len(selections) != 1 {
		err = fmt.Errorf("it names %d networks, not one", len(selections))
	}
	if err != nil {
		return nil, badAnnotation(defaultAnnotation, pod, err)
	}
	return i.delegateOf(ctx, selections[0], i.args.IfName)
}

func (i *invocation) delegateOf(ctx context.Context, s selection, ifName string) (*delegate, error) {
	name := s.Namespace + "/" + s.Name
	list, err := i.network(ctx, s.Namespace, s.Name)
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "cannot read the network "+name, err.Error())
	}
	d := &delegate{Name: name, IfName: ifName, Config: list.Bytes, Capabilities: map[string]any{}}
	if len(s.IPs) > 0 {
		d.Capabilities["ips"] = s.IPs
	}
	if s.MAC != "" {
		d.Capabilities["mac"] = s.MAC
	}
	return d, nil
}

func badAnnotation(key string, pod *pod, err error) error {
	msg := fmt.Sprintf("annotation %s of pod %s/%s is not usable", key, pod.Metadata.Namespace, pod.Metadata.Name)
	return types.NewError(types.ErrInvalidNetworkConfig, msg, err.Error())
}

func (p *plan) runtime(d delegate) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: p.ContainerID, NetNS: p.NetNS, IfName: d.IfName, Args: p.Args, CapabilityArgs: d.Capabilities,
	}
}

func planFile(cacheDir, containerID string) string {
	return filepath.Join(cacheDir, "plans", containerID)
}

func (p *plan) save(cacheDir string) error {
	file := planFile(cacheDir, p.ContainerID)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	// A dot is not allowed at the start of a container's id: no plan has this name.
	unfinished := planFile(cacheDir, "."+p.ContainerID)
	if err := os.WriteFile(unfinished, text, 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, file)
}

func (p *plan) remove(cacheDir string) error {
	if err := os.Remove(planFile(cacheDir, p.ContainerID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// loadPlan returns nil when there is none.
func loadPlan(cacheDir, containerID string) (*plan, error) {
	text, err := os.ReadFile(planFile(cacheDir, containerID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("%s: %w", planFile(cacheDir, containerID), err)
	}
	return p, nil
}

func allPlans(cacheDir string) ([]*plan, error) {
	entries, err := os.ReadDir(filepath.Join(cacheDir, "plans"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var plans []*plan
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		p, err := loadPlan(cacheDir, entry.Name())
		if err != nil {
			return nil, err
		}
		if p != nil {
			plans = append(plans, p)
		}
	}
	return plans, nil
}
