// Command multus is a stand-in for Multus, for the testbed only: the real one cannot be had there.
//
// It follows the NPWG multi-network specification v1.3: pods ask for networks by annotation, each network is a
// NetworkAttachmentDefinition whose CNI configuration is run through libcni, and the pod's network-status says what came of
// it. What the specification leaves open it does as Multus does (the names of the annotations of the default network, of
// the interfaces, of the configuration's keys). What it cannot do it refuses, rather than leave it out in silence:
// see selection in annotation.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// patience bounds one command: the runtime's own limit is longer, and it must see our error.
const patience = 100 * time.Second

// conf is the configuration of the stand-in: a part of Multus' own.
type conf struct {
	types.PluginConf
	// Kubeconfig is the path of the credentials that pods and networks are read with.
	Kubeconfig string `json:"kubeconfig"`
	// ClusterNetwork is every pod's eth0: a NetworkAttachmentDefinition in MultusNamespace, the name of a
	// configuration in ConfDir, or the absolute path of one.
	ClusterNetwork string `json:"clusterNetwork"`
	// MultusNamespace holds the networks that are named without a namespace by the cluster, not by a pod.
	MultusNamespace string `json:"multusNamespace"`
	// BinDir is searched for plugins after CNI_PATH.
	BinDir string `json:"binDir"`
	// ConfDir holds the configurations of networks whose definition has none.
	ConfDir string `json:"confDir"`
	// CacheDir keeps what DEL needs when pod and network are gone.
	CacheDir string `json:"cacheDir"`
}

func parseConf(stdin []byte) (*conf, error) {
	c := &conf{MultusNamespace: "kube-system", ConfDir: "/etc/cni/multus/net.d", CacheDir: "/var/lib/cni/multus"}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "cannot read the configuration of multus", err.Error())
	}
	if c.ClusterNetwork == "" {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "clusterNetwork is missing: name the network of eth0", "")
	}
	return c, nil
}

// invocation is one run of the plugin.
type invocation struct {
	*conf
	args *skel.CmdArgs
	cni  *libcni.CNIConfig
	api  *cluster
}

func start(args *skel.CmdArgs) (*invocation, error) {
	c, err := parseConf(args.StdinData)
	if err != nil {
		return nil, err
	}
	path := filepath.SplitList(args.Path)
	if c.BinDir != "" {
		path = append(path, c.BinDir)
	}
	return &invocation{conf: c, args: args, cni: libcni.NewCNIConfigWithCacheDir(path, c.CacheDir, nil)}, nil
}

// connect makes the API server reachable; ADD needs it, DEL must do without.
func (i *invocation) connect() error {
	if i.api != nil {
		return nil
	}
	api, err := openCluster(i.Kubeconfig)
	if err != nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "cannot use the kubeconfig", err.Error())
	}
	i.api = api
	return nil
}

func add(args *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	i, err := start(args)
	if err != nil {
		return err
	}
	if err := i.connect(); err != nil {
		return err
	}
	pod, err := i.pod(ctx)
	if err != nil {
		return err
	}
	plan, err := i.plan(ctx, pod)
	if err != nil {
		return err
	}
	// Written before the first plugin runs: whatever happens from here on, DEL knows what there may be to undo.
	if err := plan.save(i.CacheDir); err != nil {
		return types.NewError(types.ErrIOFailure, "cannot keep the plan of the pod's networks", err.Error())
	}
	results, err := i.addAll(ctx, plan)
	if err == nil {
		err = i.report(ctx, pod, plan, results)
	}
	if err != nil {
		// The runtime sends DEL too, but not every one does, and not at once.
		if undo := i.delAll(ctx, plan); undo != nil {
			return withDetails(err, fmt.Sprintf("and undoing it failed: %v", undo))
		}
		return err
	}
	return types.PrintResult(results[0], i.CNIVersion)
}

func (i *invocation) addAll(ctx context.Context, plan *plan) ([]types.Result, error) {
	results := make([]types.Result, 0, len(plan.Delegates))
	for _, delegate := range plan.Delegates {
		list, err := libcni.ConfListFromBytes(delegate.Config)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", delegate.Name, err)
		}
		result, err := i.cni.AddNetworkList(ctx, list, plan.runtime(delegate))
		if err != nil {
			return nil, naming(err, delegate)
		}
		results = append(results, result)
	}
	return results, nil
}

// delAll removes the networks of a plan in the reverse order, as far as it can; the plan stays as long as one failed.
func (i *invocation) delAll(ctx context.Context, plan *plan) error {
	var errs []error
	for n := len(plan.Delegates) - 1; n >= 0; n-- {
		delegate := plan.Delegates[n]
		list, err := libcni.ConfListFromBytes(delegate.Config)
		if err == nil {
			err = i.cni.DelNetworkList(ctx, list, plan.runtime(delegate))
		}
		if err != nil {
			errs = append(errs, naming(err, delegate))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return plan.remove(i.CacheDir)
}

func del(args *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	i, err := start(args)
	if err != nil {
		return err
	}
	plan, err := loadPlan(i.CacheDir, args.ContainerID)
	if err != nil {
		return types.NewError(types.ErrIOFailure, "cannot read the plan of the pod's networks", err.Error())
	}
	if plan == nil {
		// Never added, or deleted already.
		return nil
	}
	// The runtime knows better than we whether the namespace is still there: it gives none once it is gone.
	plan.NetNS = args.Netns
	return i.delAll(ctx, plan)
}

func check(args *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	i, err := start(args)
	if err != nil {
		return err
	}
	plan, err := loadPlan(i.CacheDir, args.ContainerID)
	if err != nil {
		return types.NewError(types.ErrIOFailure, "cannot read the plan of the pod's networks", err.Error())
	}
	if plan == nil {
		return types.NewError(types.ErrUnknownContainer, "no network was added for container "+args.ContainerID, "")
	}
	for _, delegate := range plan.Delegates {
		list, err := libcni.ConfListFromBytes(delegate.Config)
		if err == nil {
			err = i.cni.CheckNetworkList(ctx, list, plan.runtime(delegate))
		}
		// A version without CHECK has nothing to complain about.
		if err != nil && !errors.Is(err, libcni.ErrorCheckNotSupp) {
			return naming(err, delegate)
		}
	}
	return nil
}

func status(args *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	i, err := start(args)
	if err != nil {
		return err
	}
	list, err := i.clusterNetwork(ctx)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, "the cluster's network cannot be read", err.Error())
	}
	return i.cni.GetStatusNetworkList(ctx, list)
}

// gc removes what containers that are gone have left on any network, and then lets each network's plugins do the same.
func gc(args *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	i, err := start(args)
	if err != nil {
		return err
	}
	valid := map[string]bool{}
	for _, attachment := range i.ValidAttachments {
		valid[attachment.ContainerID] = true
	}
	plans, err := allPlans(i.CacheDir)
	if err != nil {
		return types.NewError(types.ErrIOFailure, "cannot read the plans of the pods' networks", err.Error())
	}
	var errs []error
	lists := map[string]*libcni.NetworkConfigList{}
	attachments := map[string][]types.GCAttachment{}
	for _, plan := range plans {
		if !valid[plan.ContainerID] {
			plan.NetNS = ""
			errs = append(errs, i.delAll(ctx, plan))
			continue
		}
		for _, delegate := range plan.Delegates {
			list, err := libcni.ConfListFromBytes(delegate.Config)
			if err != nil {
				errs = append(errs, naming(err, delegate))
				continue
			}
			lists[list.Name] = list
			attachments[list.Name] = append(attachments[list.Name],
				types.GCAttachment{ContainerID: plan.ContainerID, IfName: delegate.IfName})
		}
	}
	main, err := i.clusterNetwork(ctx)
	if err != nil {
		errs = append(errs, err)
	} else {
		lists[main.Name] = main
		attachments[main.Name] = union(attachments[main.Name], i.ValidAttachments)
	}
	for name, list := range lists {
		errs = append(errs, i.cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: attachments[name]}))
	}
	return errors.Join(errs...)
}

func union(some, more []types.GCAttachment) []types.GCAttachment {
	seen := map[types.GCAttachment]bool{}
	all := []types.GCAttachment{}
	for _, attachment := range append(some, more...) {
		if !seen[attachment] {
			seen[attachment] = true
			all = append(all, attachment)
		}
	}
	return all
}

// naming says on which network a plugin failed, and keeps the code of its error.
func naming(err error, delegate delegate) error {
	where := fmt.Sprintf("network %s on %s", delegate.Name, delegate.IfName)
	var e *types.Error
	if errors.As(err, &e) {
		return types.NewError(e.Code, fmt.Sprintf("%s: %s", where, e.Msg), e.Details)
	}
	return fmt.Errorf("%s: %w", where, err)
}

func withDetails(err error, more string) error {
	var e *types.Error
	if errors.As(err, &e) {
		return types.NewError(e.Code, e.Msg, e.Details+" "+more)
	}
	return types.NewError(types.ErrInternal, err.Error(), more)
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check, Status: status, GC: gc}, version.All,
		"a stand-in for Multus after the NPWG multi-network specification v1.3; of the testbed, never shipped")
}
