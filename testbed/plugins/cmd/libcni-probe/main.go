// Command libcni-probe runs one CNI command on a configuration through upstream's Go library, and prints what came of it as JSON.
//
// It is for the tests of our own plugins: upstream's cnitool has neither the cached result nor the error's parts, and it
// takes the configuration's version as it is.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// outcome is what is printed: a result, an error, or neither.
type outcome struct {
	Result any    `json:"result,omitempty"`
	Error  *fault `json:"error,omitempty"`
	Millis int64  `json:"millis"`
}

// fault is an error of the library or of the plugin; only the plugin's has a code.
type fault struct {
	Code    *uint  `json:"code,omitempty"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
	Text    string `json:"text"`
}

func main() {
	command := flag.String("command", "ADD", "ADD, CHECK, DEL, STATUS, GC, VERSION, or CACHED for the kept result")
	conf := flag.String("conf", "", "file of the configuration, of one plugin or of a list")
	cniVersion := flag.String("cni-version", "", "version to run it with, instead of its own")
	path := flag.String("path", os.Getenv("CNI_PATH"), "folders of plugins, with colons between")
	cache := flag.String("cache", "", "folder of the library's cache; needed")
	container := flag.String("container", "probe", "container ID")
	netns := flag.String("netns", "", "path of the network namespace")
	ifname := flag.String("ifname", "eth0", "name of the interface")
	args := flag.String("args", "", "CNI_ARGS: KEY=VALUE;…")
	capabilities := flag.String("capabilities", "", "runtime configuration as JSON")
	valid := flag.String("valid", "", "for GC: container:interface,… that are still in use")
	patience := flag.Duration("patience", time.Minute, "longest time to wait")
	flag.Parse()
	if *conf == "" || *cache == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "libcni-probe: -conf and -cache are needed, and nothing may follow the flags")
		os.Exit(2)
	}
	list, err := load(*conf, *cniVersion)
	if err != nil {
		fmt.Fprintf(os.Stderr, "libcni-probe: cannot read %s: %v\n", *conf, err)
		os.Exit(2)
	}
	rt := &libcni.RuntimeConf{ContainerID: *container, NetNS: *netns, IfName: *ifname}
	for _, pair := range strings.Split(*args, ";") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			rt.Args = append(rt.Args, [2]string{key, value})
		}
	}
	if *capabilities != "" {
		if err := json.Unmarshal([]byte(*capabilities), &rt.CapabilityArgs); err != nil {
			fmt.Fprintf(os.Stderr, "libcni-probe: -capabilities is not a JSON object: %v\n", err)
			os.Exit(2)
		}
	}
	attachments := []types.GCAttachment{}
	for _, pair := range strings.Split(*valid, ",") {
		if id, name, ok := strings.Cut(pair, ":"); ok {
			attachments = append(attachments, types.GCAttachment{ContainerID: id, IfName: name})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(*path), *cache, nil)
	begun := time.Now()
	result, err := run(ctx, cni, *command, list, rt, attachments)
	o := outcome{Result: result, Error: faultOf(err), Millis: time.Since(begun).Milliseconds()}
	text, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		fmt.Fprintf(os.Stderr, "libcni-probe: cannot print the outcome: %v\n", err)
		os.Exit(2)
	}
	fmt.Println(string(text))
	if o.Error != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, cni *libcni.CNIConfig, command string, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf, valid []types.GCAttachment) (any, error) {
	switch command {
	case "ADD":
		return orNothing(cni.AddNetworkList(ctx, list, rt))
	case "CACHED":
		return orNothing(cni.GetNetworkListCachedResult(list, rt))
	case "CHECK":
		return nil, cni.CheckNetworkList(ctx, list, rt)
	case "DEL":
		return nil, cni.DelNetworkList(ctx, list, rt)
	case "STATUS":
		return nil, cni.GetStatusNetworkList(ctx, list)
	case "GC":
		return nil, cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid})
	case "VERSION":
		versions := map[string][]string{}
		for _, plugin := range list.Plugins {
			info, err := cni.GetVersionInfo(ctx, plugin.Network.Type)
			if err != nil {
				return nil, err
			}
			versions[plugin.Network.Type] = info.SupportedVersions()
		}
		return versions, nil
	}
	return nil, fmt.Errorf("there is no command %q", command)
}

// orNothing keeps a missing result from being printed as one that is null.
func orNothing(result types.Result, err error) (any, error) {
	if result == nil {
		return nil, err
	}
	return result, err
}

func load(file, cniVersion string) (*libcni.NetworkConfigList, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	raw := map[string]any{}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	if cniVersion != "" {
		raw["cniVersion"] = cniVersion
		delete(raw, "cniVersions")
	}
	if _, isList := raw["plugins"]; !isList {
		raw = map[string]any{"name": raw["name"], "cniVersion": raw["cniVersion"], "plugins": []any{raw}}
	}
	if text, err = json.Marshal(raw); err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(text)
}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	var e *types.Error
	if errors.As(err, &e) {
		return &fault{Code: &e.Code, Msg: e.Msg, Details: e.Details, Text: err.Error()}
	}
	return &fault{Msg: err.Error(), Text: err.Error()}
}
