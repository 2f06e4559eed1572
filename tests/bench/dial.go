// Connects to HOST PORT as Go does by itself, with the time limit of net/http's default transport, and prints the line
// that the server says. Go makes its system calls itself, so it is measured beside the library, never with it.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	dialer := net.Dialer{Timeout: 30 * time.Second}
	connection, err := dialer.Dial("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	line, _ := bufio.NewReader(connection).ReadString('\n')
	fmt.Print(line)
}
