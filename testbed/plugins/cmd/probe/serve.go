package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// answer is what the server says: who it is, and whom it sees.
type answer struct {
	Hostname string `json:"hostname"`
	// Source is the client's address as it arrived here: what NAT and masquerading made of it.
	Source string `json:"source"`
	// Local is our own address that the client reached; UDP does not tell it.
	Local string `json:"local,omitempty"`
	// Echo is what the client sent.
	Echo string `json:"echo,omitempty"`
}

func answerTo(source, local net.Addr, echo string) []byte {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	a := answer{Hostname: host, Source: source.String(), Echo: echo}
	if local != nil {
		a.Local = local.String()
	}
	text, err := json.Marshal(a)
	if err != nil {
		return []byte("{}\n")
	}
	return append(text, '\n')
}

func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	port := flags.Int("port", 8080, "port of HTTP and UDP; raw TCP is on the next one, measure on the one after that")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// The empty host is both families.
	web, err := net.Listen("tcp", fmt.Sprintf(":%d", *port))
	if err != nil {
		return err
	}
	raw, err := net.Listen("tcp", fmt.Sprintf(":%d", *port+1))
	if err != nil {
		return err
	}
	datagrams, err := net.ListenPacket("udp", fmt.Sprintf(":%d", *port))
	if err != nil {
		return err
	}
	measures, err := net.Listen("tcp", fmt.Sprintf(":%d", *port+2))
	if err != nil {
		return err
	}
	ended := make(chan error, 4)
	go func() { ended <- serveHTTP(web) }()
	go func() { ended <- serveTCP(raw) }()
	go func() { ended <- serveUDP(datagrams) }()
	go func() { ended <- serveMeasure(measures) }()
	fmt.Fprintf(os.Stderr, "probe: serving HTTP and UDP on %d, TCP on %d\n", *port, *port+1)
	return <-ended
}

func serveHTTP(listener net.Listener) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source, err := net.ResolveTCPAddr("tcp", r.RemoteAddr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answerTo(source, local, ""))
	})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func serveTCP(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
			buffer := make([]byte, 1024)
			n, err := connection.Read(buffer)
			if err != nil {
				// Who only connects has been answered by that.
				return
			}
			_, _ = connection.Write(answerTo(connection.RemoteAddr(), connection.LocalAddr(), string(buffer[:n])))
		}()
	}
}

func serveUDP(socket net.PacketConn) error {
	buffer := make([]byte, 1024)
	for {
		n, source, err := socket.ReadFrom(buffer)
		if err != nil {
			return err
		}
		_, _ = socket.WriteTo(answerTo(source, nil, string(buffer[:n])), source)
	}
}
