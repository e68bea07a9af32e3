package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// errNotFound: the API server positively says that there is no such object.
var errNotFound = errors.New("not found")

// cluster is the API server; plain HTTP keeps this small program a tenth of the size that the usual client makes it.
type cluster struct {
	server string
	token  string
	client *http.Client
}

// kubeconfig is the part of a kubeconfig that a service account or a certificate needs.
type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Contexts       []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server        string `json:"server"`
			Authority     []byte `json:"certificate-authority-data"`
			AuthorityFile string `json:"certificate-authority"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Token           string `json:"token"`
			TokenFile       string `json:"tokenFile"`
			Certificate     []byte `json:"client-certificate-data"`
			CertificateFile string `json:"client-certificate"`
			Key             []byte `json:"client-key-data"`
			KeyFile         string `json:"client-key"`
		} `json:"user"`
	} `json:"users"`
}

func openCluster(path string) (*cluster, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(text, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	orFile := func(data []byte, file string) ([]byte, error) {
		if len(data) > 0 || file == "" {
			return data, nil
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		return os.ReadFile(file)
	}
	clusterName, userName := "", ""
	for _, c := range k.Contexts {
		if c.Name == k.CurrentContext {
			clusterName, userName = c.Context.Cluster, c.Context.User
		}
	}
	api := &cluster{}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, c := range k.Clusters {
		if c.Name != clusterName {
			continue
		}
		api.server = strings.TrimRight(c.Cluster.Server, "/")
		authority, err := orFile(c.Cluster.Authority, c.Cluster.AuthorityFile)
		if err != nil {
			return nil, err
		}
		if len(authority) > 0 {
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(authority) {
				return nil, fmt.Errorf("%s: the authority of cluster %s is no certificate", path, clusterName)
			}
		}
	}
	if api.server == "" {
		return nil, fmt.Errorf("%s: the current context %q leads to no server", path, k.CurrentContext)
	}
	for _, u := range k.Users {
		if u.Name != userName {
			continue
		}
		token, err := orFile([]byte(u.User.Token), u.User.TokenFile)
		if err != nil {
			return nil, err
		}
		api.token = strings.TrimSpace(string(token))
		certificate, err := orFile(u.User.Certificate, u.User.CertificateFile)
		if err != nil {
			return nil, err
		}
		key, err := orFile(u.User.Key, u.User.KeyFile)
		if err != nil {
			return nil, err
		}
		if len(certificate) > 0 {
			pair, err := tls.X509KeyPair(certificate, key)
			if err != nil {
				return nil, fmt.Errorf("%s: the certificate of user %s: %w", path, userName, err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
	}
	api.client = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}
	return api, nil
}

// get reads one object; a server that is just starting is given three more tries.
func (c *cluster) get(ctx context.Context, path string, into any) error {
	var err error
	for try := range 4 {
		if try > 0 {
			select {
			case <-ctx.Done():
				return errors.Join(err, ctx.Err())
			case <-time.After(time.Duration(try) * 300 * time.Millisecond):
			}
		}
		var transient bool
		if transient, err = c.do(ctx, http.MethodGet, path, "", nil, into); err == nil || !transient {
			return err
		}
	}
	return err
}

// patch merges into one object; it is tried once, since who calls can tell best what to undo.
func (c *cluster) patch(ctx context.Context, path string, change any) error {
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPatch, path, "application/merge-patch+json", body, nil)
	return err
}

// do says too whether another try may help.
func (c *cluster) do(ctx context.Context, method, path, kind string, body []byte, into any) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Accept", "application/json")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return true, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err != nil {
		return true, err
	}
	switch {
	case response.StatusCode == http.StatusNotFound:
		return false, fmt.Errorf("%s: %w", path, errNotFound)
	case response.StatusCode >= 300:
		var said struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(text, &said)
		transient := response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests
		return transient, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, said.Message)
	case into == nil:
		return false, nil
	}
	return false, json.Unmarshal(text, into)
}
