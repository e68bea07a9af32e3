package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// What a client of measure says first: how the server shall behave.
const (
	echoes byte = 'e'
	drinks byte = 'd'
)

// serveMeasure answers measure: it sends back what comes, or counts it and says how much it was.
func serveMeasure(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(10 * time.Minute))
			mode := make([]byte, 1)
			if _, err := io.ReadFull(connection, mode); err != nil {
				return
			}
			if mode[0] == echoes {
				_, _ = io.Copy(connection, connection)
				return
			}
			count, _ := io.Copy(io.Discard, connection)
			_ = binary.Write(connection, binary.BigEndian, count)
		}()
	}
}

// measured is what a way for packets can do.
type measured struct {
	// Rounds is how many round trips of one byte there were.
	Rounds int `json:"rounds"`
	// P50 and P99 are their times.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	// Mbit is how much arrived in a second of one connection.
	Mbit float64 `json:"mbit_s"`
}

func measure(args []string) error {
	flags := flag.NewFlagSet("measure", flag.ExitOnError)
	length := flags.Duration("for", 2*time.Second, "how long to go on with each of the two")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("measure needs one HOST:PORT after its flags, got %d", flags.NArg())
	}
	times, err := roundTrips(flags.Arg(0), *length)
	if err != nil {
		return err
	}
	mbit, err := stream(flags.Arg(0), *length)
	if err != nil {
		return err
	}
	slices.Sort(times)
	at := func(share int) float64 { return millis(times[(len(times)-1)*share/100]) }
	return say(measured{Rounds: len(times), P50: at(50), P99: at(99), Mbit: mbit})
}

func open(address string, mode byte, length time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	// Go sends what it has at once (TCP_NODELAY) unless it is told otherwise.
	if err := c.SetDeadline(time.Now().Add(length + 30*time.Second)); err != nil {
		return nil, err
	}
	_, err = c.Write([]byte{mode})
	return c, err
}

func roundTrips(address string, length time.Duration) ([]time.Duration, error) {
	c, err := open(address, echoes, length)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var times []time.Duration
	buffer := []byte{0}
	for begun := time.Now(); time.Since(begun) < length; {
		sent := time.Now()
		if _, err := c.Write(buffer); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, buffer); err != nil {
			return nil, err
		}
		times = append(times, time.Since(sent))
	}
	return times, nil
}

func stream(address string, length time.Duration) (float64, error) {
	c, err := open(address, drinks, length)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buffer := make([]byte, 64<<10)
	begun := time.Now()
	for time.Since(begun) < length {
		if _, err := c.Write(buffer); err != nil {
			return 0, err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	var count int64
	// The server says so when the last byte has arrived.
	if err := binary.Read(c, binary.BigEndian, &count); err != nil {
		return 0, err
	}
	return float64(count) * 8 / 1e6 / time.Since(begun).Seconds(), nil
}
