# Client programs that ask a name server themselves, instead of libc's getaddrinfo(3). They need a lab with a name server,
# at 127.0.0.1.
# A program belongs here only when strace has shown that it does.
import sys

from clients import Client, plain, saved
from clients.event_driven import NGINX_HEAD, scripted

NODE = """
const [host, port] = process.argv.slice(1);
require("dns").resolve4(host, (error, addresses) => {
    if (error) throw error;
    require("net").connect({ host: addresses[0], port })
        .on("error", (error) => { console.error(error.code); process.exitCode = 1; })
        .on("data", (data) => console.log(data.toString()));
});
"""

DNSPYTHON = """
import socket, sys
import dns.resolver
host, port = sys.argv[1:]
address = dns.resolver.resolve(host, "A")[0].address
print(socket.create_connection((address, port)).recv(99).decode())
"""

# Without a call: that would need more of a server than to say that it is one.
GRPC = """
import sys
import grpc
channel = grpc.insecure_channel(":".join(sys.argv[1:]))
grpc.channel_ready_future(channel).result(60)
"""

LUA = """
local connection = require("cqueues.socket").connect(arg[1], tonumber(arg[2]))
print(connection:read())
"""

# Runs the server that the further arguments are, in a directory of its own with the configuration that is the first
# argument, and asks it once it listens at the port PORT, or at a socket with a name like this: a URL by HTTP, else by a
# command. With "again" it is asked anew as long as it knows no server yet (503), for some seconds.
SERVED = """
import glob, os, pathlib, socket, subprocess, sys, tempfile, time
configuration, place, request, again, *words = sys.argv[1:]
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]

def reached():
    if place == "PORT":
        return socket.create_connection(("127.0.0.1", port))
    client = socket.socket(socket.AF_UNIX)
    client.connect(glob.glob(place)[0])
    return client

def ask():
    if "/" not in request.partition(" ")[0]:
        asked = subprocess.run(["sh", "-c", request], capture_output=True, text=True)
        return asked.stdout if asked.returncode == 0 else asked.stderr
    with reached() as client:
        client.sendall(f"GET {request} HTTP/1.0\\r\\n\\r\\n".encode())
        return client.makefile().read()

def listens():
    try:
        reached().close()
        return True
    except (OSError, IndexError):
        return False

with tempfile.TemporaryDirectory() as directory:
    os.chmod(directory, 0o777)
    os.chdir(directory)
    configuration = configuration.replace("DIRECTORY", directory).replace("PORT", str(port))
    pathlib.Path("server.conf").write_text(configuration)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            while not listens() and server.poll() is None:
                time.sleep(0.01)
            os.environ.pop("LD_PRELOAD", None)
            began = time.monotonic()
            answer = ask()
            while again and " 503 " in answer and time.monotonic() < began + 3:
                time.sleep(0.01)
                answer = ask()
        finally:
            server.terminate()
print(answer)
sys.exit("nextaddr-live" not in answer)
"""

NGINX = NGINX_HEAD + """    resolver 127.0.0.1;
    server {{
        listen unix:proxy.socket;
        set $live {host};
        location / {{ proxy_pass http://$live:{port}; }}
    }}
}}
"""

HAPROXY = """
resolvers lab
    nameserver one 127.0.0.1:53
defaults
    mode http
    retries 0
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen proxy
    bind unix@proxy.socket
    server live {host}:{port} resolvers lab init-addr none
"""

SQUID = """
http_port 127.0.0.1:PORT
http_access allow all
pid_filename none
access_log none
cache_log /dev/null
cache_store_log none
cache deny all
netdb_filename none
coredump_dir DIRECTORY
shutdown_lifetime 0 seconds
"""

PGBOUNCER = """
[databases]
lab = host={host} port={port} dbname=lab user=lab
[pgbouncer]
unix_socket_dir = DIRECTORY
listen_port = PORT
auth_type = any
server_round_robin = 0
server_login_retry = 0
query_wait_timeout = 60
server_connect_timeout = 60
server_tls_sslmode = disable
pidfile =
"""

# They refuse to run as root, which everybody is in the lab.
AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


def served(configuration, place, request, *words, again=False):
    def all_words(host, port):
        text = configuration.format(host=host, port=port)
        asked = request.format(host=host, port=port)
        return [sys.executable, "-c", SERVED, text, place, asked, "again" if again else "", *words]

    return all_words


PSQL = "exec psql -X -At -h \"$PWD\" -p $(ls -a | sed -n 's/^.s.PGSQL.//p') -U lab -c 'select 1' lab"
SQUID_WORDS = (*AS_NOBODY, "squid", "-N", "-f", "server.conf")

# They look a name up for IPv4 only when it has no IPv6 address, or none that answers.
IPV6_ALONE = frozenset({"ipv6-silent"})

RESOLVING = [
    Client("nginx resolver", "nginx", "http",
           served(NGINX, "proxy.socket", "/", "nginx", "-e", "/dev/null", "-p", ".", "-c", "server.conf")),
    Client("haproxy resolvers", "haproxy", "http",
           served(HAPROXY, "proxy.socket", "/", "haproxy", "-f", "server.conf", again=True), any_order=True, seconds=3,
           unhelped=IPV6_ALONE),
    Client("squid", "squid", "http", served(SQUID, "PORT", "http://{host}:{port}/", *SQUID_WORDS)),
    Client("pgbouncer", "pgbouncer", "postgres", served(PGBOUNCER, ".s.PGSQL.*", PSQL, *AS_NOBODY, "pgbouncer", "-q", "server.conf")),
    Client("node dns.resolve4", "node", "greeting", lambda h, p: ["node", "-e", NODE, h, str(p)], first_only=True),
    Client("python3 dnspython", sys.executable, "greeting", plain(sys.executable, "-c", DNSPYTHON), first_only=True,
           probe=(sys.executable, "-c", "import dns.resolver")),
    Client("python3 gRPC", sys.executable, "http2", plain(sys.executable, "-c", GRPC), mute=True,
           probe=(sys.executable, "-c", "import grpc")),
    Client("lua cqueues", "lua5.4", "greeting", scripted("lua5.4", LUA),
           probe=("lua5.4", "-e", "require('cqueues.socket')")),
    Client("aria2c", "aria2c", "http", saved("aria2c", "-q", "-o", "answer")),
]
