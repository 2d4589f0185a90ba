package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// What net/http would answer by itself passes our edge like the rest.
func TestOPTIONSOfEverythingIsOursToAnswer(t *testing.T) {
	address, _ := run(t, unbuilt(t))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNotFound || res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("X-Correlation-ID") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}
