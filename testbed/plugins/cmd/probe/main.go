// Command probe is the client and server that the pods of the tests run: one static program for an image without anything else.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

const usage = `probe serve [--port N]                                   answer HTTP and UDP on port N, raw TCP on N+1 and measure on N+2, until ended
probe get [--from IP] [--timeout D] TARGET               ask once; TARGET is http://…, tcp://HOST:PORT or udp://HOST:PORT
probe loop [--interval D] [--for D] [--timeout D] [--from IP] TARGET
                                                         connect to HOST:PORT, or send udp://HOST:PORT one datagram, again and again, and say
                                                         how often nothing came back
probe measure [--for D] HOST:PORT                        round trips of one byte, and as much as goes through
Every answer is one line of JSON. An IPv6 address stands in brackets. Ends with 1 when what was asked did not come.`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(os.Args[2:])
	case "get":
		err = get(os.Args[2:])
	case "loop":
		err = loop(os.Args[2:])
	case "measure":
		err = measure(os.Args[2:])
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "probe: %v\n", err)
		os.Exit(1)
	}
}

func say(what any) error {
	return json.NewEncoder(os.Stdout).Encode(what)
}
