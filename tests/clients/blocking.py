# Client programs that wait in connect(2) itself, on a blocking socket.
# A program belongs here only when strace has shown that it does.
import sys

from clients import Client, fetch, java, plain, saved

# The first address only, as many small programs do.
PYTHON_CONNECT = """
import socket, sys
family, kind, protocol, _, address = socket.getaddrinfo(*sys.argv[1:], type=socket.SOCK_STREAM)[0]
connection = socket.socket(family, kind, protocol)
connection.connect(address)
print(connection.recv(99).decode())
"""

PYTHON_CREATE = """
import socket, sys
print(socket.create_connection(sys.argv[1:]).recv(99).decode())
"""

PERL = """
use IO::Socket::INET;
my $connection = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1]) or die "$@\\n";
print scalar <$connection>;
"""

JAVA = """
import java.io.*;
import java.net.*;
class Connect {
    public static void main(String[] words) throws IOException {
        try (Socket connection = new Socket(words[0], Integer.parseInt(words[1]))) {
            System.out.println(new BufferedReader(new InputStreamReader(connection.getInputStream())).readLine());
        }
    }
}
"""


def ssh(host, port):
    # The server ends after the exchange of versions; -v shows what it said.
    return ["ssh", "-v", "-F", "none", "-o", "BatchMode=yes", "-p", str(port), host]


def mosquitto(*words):
    return lambda host, port: [words[0], "-h", host, "-p", str(port), "-t", "lab", *words[1:]]


CLIENTS = [
    Client("python3 connect", sys.executable, "greeting", plain(sys.executable, "-c", PYTHON_CONNECT), first_only=True),
    Client("python3 create_connection", sys.executable, "greeting", plain(sys.executable, "-c", PYTHON_CREATE)),
    Client("bash /dev/tcp", "bash", "greeting", lambda h, p: ["bash", "-c", f"cat < /dev/tcp/{h}/{p}"]),
    Client("perl IO::Socket", "perl", "greeting", plain("perl", "-e", PERL), first_only=True),
    Client("java Socket", "javac", "greeting", java("Connect", JAVA), first_only=True),
    Client("telnet", "telnet", "greeting", plain("telnet"), hold_stdin=True),
    Client(
        "busybox telnet", "busybox", "greeting", plain("busybox", "telnet"), hold_stdin=True, status=1, first_only=True
    ),
    Client("nc.traditional", "nc.traditional", "greeting", plain("nc.traditional"), first_only=True),
    Client("busybox nc", "busybox", "greeting", plain("busybox", "nc"), first_only=True),
    Client("socat", "socat", "greeting", lambda h, p: ["socat", "-u", f"TCP:{h}:{p}", "-"], first_only=True),
    Client("wget", "wget", "http", fetch("wget", "-nv", "-O-")),
    Client("busybox wget", "busybox", "http", fetch("busybox", "wget", "-q", "-O-"), first_only=True),
    Client("git git://", "git", "git", lambda h, p: ["git", "ls-remote", f"git://{h}:{p}/it.git"]),
    Client("ssh", "ssh", "ssh", ssh, status=255),
    Client("axel", "axel", "http", saved("axel", "-q", "-n", "1", "-o", "answer")),
    Client("mosquitto_sub", "mosquitto_sub", "mqtt", mosquitto("mosquitto_sub", "-C", "1")),
    Client("mosquitto_pub", "mosquitto_pub", "mqtt", mosquitto("mosquitto_pub", "-m", "hello"), mute=True),
]
