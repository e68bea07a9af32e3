package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

// clusterNetwork reads every pod's default network.
func (i *invocation) clusterNetwork(ctx context.Context) (*libcni.NetworkConfigList, error) {
	list, _, err := i.namedClusterNetwork(ctx)
	return list, err
}

// namedClusterNetwork also says by which name the pod's network-status knows it.
func (i *invocation) namedClusterNetwork(ctx context.Context) (*libcni.NetworkConfigList, string, error) {
	if filepath.IsAbs(i.ClusterNetwork) {
		text, err := os.ReadFile(i.ClusterNetwork)
		if err != nil {
			return nil, "", err
		}
		list, err := i.parseNetwork(text, "")
		if err != nil {
			return nil, "", err
		}
		return list, list.Name, nil
	}
	list, err := i.network(ctx, i.MultusNamespace, i.ClusterNetwork)
	if errors.Is(err, errNotFound) {
		fromFile, fileErr := libcni.LoadNetworkConf(i.ConfDir, i.ClusterNetwork)
		if fileErr != nil {
			return nil, "", fmt.Errorf("%w, nor in %s: %w", err, i.ConfDir, fileErr)
		}
		return fromFile, fromFile.Name, nil
	}
	if err != nil {
		return nil, "", err
	}
	return list, i.MultusNamespace + "/" + i.ClusterNetwork, nil
}

// network reads one NetworkAttachmentDefinition.
func (i *invocation) network(ctx context.Context, namespace, name string) (*libcni.NetworkConfigList, error) {
	if err := i.connect(); err != nil {
		return nil, err
	}
	var definition struct {
		Spec struct {
			Config string `json:"config"`
		} `json:"spec"`
	}
	path := fmt.Sprintf("/apis/k8s.cni.cncf.io/v1/namespaces/%s/network-attachment-definitions/%s", namespace, name)
	if err := i.api.get(ctx, path, &definition); err != nil {
		return nil, err
	}
	if definition.Spec.Config == "" {
		// The specification: a definition without configuration names one on the node's disk.
		return libcni.LoadNetworkConf(i.ConfDir, name)
	}
	return i.parseNetwork([]byte(definition.Spec.Config), name)
}

// parseNetwork reads a configuration of one plugin or of several; what has no name gets the definition's.
func (i *invocation) parseNetwork(text []byte, name string) (*libcni.NetworkConfigList, error) {
	raw := map[string]any{}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("its configuration is not JSON: %w", err)
	}
	if own, ok := raw["name"].(string); (!ok || own == "") && name != "" {
		raw["name"] = name
	}
	if own, ok := raw["cniVersion"].(string); !ok || own == "" {
		raw["cniVersion"] = i.CNIVersion
	}
	if _, isList := raw["plugins"]; !isList {
		raw = map[string]any{"name": raw["name"], "cniVersion": raw["cniVersion"], "plugins": []any{raw}}
	}
	list, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(list)
}
