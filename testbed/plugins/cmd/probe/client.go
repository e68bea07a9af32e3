package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// reply is what the client says of one answer.
type reply struct {
	// Answer is the server's own JSON, or its text where it is none.
	Answer any `json:"answer"`
	// Status is HTTP's.
	Status int `json:"status,omitempty"`
	// From is the address that the request left by, before any NAT.
	From   string  `json:"from,omitempty"`
	Millis float64 `json:"millis"`
}

func millis(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

func dialer(network, from string, timeout time.Duration) (*net.Dialer, error) {
	d := &net.Dialer{Timeout: timeout}
	if from == "" {
		return d, nil
	}
	ip := net.ParseIP(from)
	if ip == nil {
		return nil, fmt.Errorf("--from %q is not an IP address", from)
	}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: ip}
	} else {
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	return d, nil
}

func get(args []string) error {
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	from := flags.String("from", "", "own address to use")
	timeout := flags.Duration("timeout", 3*time.Second, "longest time to wait for the whole answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("get needs one target after its flags, got %d", flags.NArg())
	}
	target, err := url.Parse(flags.Arg(0))
	if err != nil {
		return err
	}
	var r *reply
	begun := time.Now()
	switch target.Scheme {
	case "http":
		r, err = getHTTP(target, *from, *timeout)
	case "tcp", "udp":
		r, err = getRaw(target.Scheme, target.Host, *from, *timeout)
	default:
		return fmt.Errorf("%q is neither http, tcp nor udp", target.Scheme)
	}
	if err != nil {
		return err
	}
	r.Millis = millis(time.Since(begun))
	return say(r)
}

func getHTTP(target *url.URL, from string, timeout time.Duration) (*reply, error) {
	d, err := dialer("tcp", from, timeout)
	if err != nil {
		return nil, err
	}
	r := &reply{}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err == nil {
			r.From = c.LocalAddr().String()
		}
		return c, err
	}
	// No proxy: what is tested is the way of the packets.
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	response, err := client.Get(target.String())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	r.Status, r.Answer = response.StatusCode, decoded(text)
	return r, nil
}

func getRaw(network, address, from string, timeout time.Duration) (*reply, error) {
	d, err := dialer(network, from, timeout)
	if err != nil {
		return nil, err
	}
	c, err := d.Dial(network, address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte("probe")); err != nil {
		return nil, err
	}
	buffer := make([]byte, 4096)
	n, err := c.Read(buffer)
	if err != nil {
		return nil, err
	}
	return &reply{Answer: decoded(buffer[:n]), From: c.LocalAddr().String()}, nil
}

func decoded(text []byte) any {
	var value any
	if json.Unmarshal(text, &value) == nil {
		return value
	}
	return strings.TrimSpace(string(text))
}

// losses is what the loop saw.
type losses struct {
	Sent int `json:"sent"`
	Lost int `json:"lost"`
	// LongestGapMillis is the longest time without an answer, from one answer to the next, the loop's begin and end included.
	LongestGapMillis float64 `json:"longest_gap_ms"`
	// MaxMillis is the slowest answer.
	MaxMillis float64 `json:"max_ms"`
	LastError string  `json:"last_error,omitempty"`
}

// connects returns what the loop does again and again: a connection, or one datagram and its answer, of which nothing is sent twice.
func connects(target, from string, timeout time.Duration) (func() error, error) {
	if address, isDatagram := strings.CutPrefix(target, "udp://"); isDatagram {
		return func() error {
			_, err := getRaw("udp", address, from, timeout)
			return err
		}, nil
	}
	d, err := dialer("tcp", from, timeout)
	if err != nil {
		return nil, err
	}
	return func() error {
		c, err := d.Dial("tcp", target)
		if err == nil {
			_ = c.Close()
		}
		return err
	}, nil
}

func loop(args []string) error {
	flags := flag.NewFlagSet("loop", flag.ExitOnError)
	from := flags.String("from", "", "own address to use")
	interval := flags.Duration("interval", 50*time.Millisecond, "time from one try to the next")
	length := flags.Duration("for", 10*time.Second, "how long to go on")
	timeout := flags.Duration("timeout", time.Second, "longest time to wait for one connection")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("loop needs one target after its flags, got %d", flags.NArg())
	}
	once, err := connects(flags.Arg(0), *from, *timeout)
	if err != nil {
		return err
	}
	type try struct {
		begun, ended time.Time
		err          error
	}
	begun := time.Now()
	tries := make(chan try)
	sent := 0
	// Each try on its own, so that one that hangs does not keep the next from being sent.
	for next := begun; next.Sub(begun) < *length; next = next.Add(*interval) {
		time.Sleep(time.Until(next))
		sent++
		go func() {
			t := try{begun: time.Now()}
			t.err = once()
			t.ended = time.Now()
			tries <- t
		}()
	}
	l := losses{Sent: sent}
	answered := []time.Time{begun, begun.Add(*length)}
	for range sent {
		t := <-tries
		if t.err != nil {
			l.Lost++
			l.LastError = t.err.Error()
			continue
		}
		l.MaxMillis = max(l.MaxMillis, millis(t.ended.Sub(t.begun)))
		answered = append(answered, t.ended)
	}
	l.LongestGapMillis = millis(longestGap(answered))
	if err := say(l); err != nil {
		return err
	}
	if l.Lost == l.Sent {
		return fmt.Errorf("none of %d tries came about: %s", l.Sent, l.LastError)
	}
	return nil
}
