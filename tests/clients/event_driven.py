# Client programs that connect without blocking and wait in poll(2), select(2) or epoll(7).
# A program belongs here only when strace has shown that it does.
import sys

from clients import Client, fetch, java, plain, saved, script, url

PYTHON_ASYNCIO = """
import asyncio, sys
async def main():
    reader, _ = await asyncio.open_connection(*sys.argv[1:])
    print((await reader.readline()).decode())
asyncio.run(main())
"""

# libuv's loop under asyncio's streams. It looks names up in a thread pool.
PYTHON_UVLOOP = """
import asyncio, sys
import uvloop
async def main():
    reader, _ = await asyncio.open_connection(*sys.argv[1:])
    print((await reader.readline()).decode())
uvloop.install()
asyncio.run(main())
"""

PYTHON_AIOHTTP = """
import asyncio, sys
import aiohttp
async def main():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1]) as response:
        print(await response.text())
asyncio.run(main())
"""

PHP_FSOCKOPEN = """
$connection = @fsockopen($argv[1], (int)$argv[2], $number, $text);
if (!$connection) { fwrite(STDERR, "$text\\n"); exit(1); }
echo fgets($connection);
"""

PHP_FILE = """
$answer = file_get_contents($argv[1]);
if ($answer === false) exit(1);
echo $answer;
"""

# Extensions, which PHP loads with RTLD_DEEPBIND.
PHP_CURL = """
$request = curl_init($argv[1]);
curl_setopt($request, CURLOPT_FAILONERROR, true);
if (!curl_exec($request)) { fwrite(STDERR, curl_error($request)); exit(1); }
"""

PHP_PGSQL = """
$connection = @pg_connect("host=$argv[1] port=$argv[2] user=lab dbname=lab sslmode=disable gssencmode=disable");
if (!$connection) exit(1);
echo pg_fetch_result(pg_query($connection, "select 1"), 0, 0);
"""

PHP_PDO = """
$settings = "pgsql:host=$argv[1];port=$argv[2];user=lab;dbname=lab;sslmode=disable;gssencmode=disable";
$connection = new PDO($settings, null, null, [PDO::ATTR_EMULATE_PREPARES => true]);
echo $connection->query("select 1")->fetchColumn();
"""

PHP_MYSQLI = """
mysqli_report(MYSQLI_REPORT_OFF);
$connection = @mysqli_connect($argv[1], "lab", "", "", (int)$argv[2]);
if (!$connection) { fwrite(STDERR, mysqli_connect_error()); exit(1); }
echo mysqli_get_server_info($connection);
"""

PHP_REDIS = """
$redis = new Redis();
$redis->connect($argv[1], (int)$argv[2]);
echo $redis->get("key");
"""

RUBY = """
require "socket"
puts TCPSocket.new(ARGV[0], ARGV[1]).gets
"""


# As Rails connects: it looks the name up itself, and hands libpq the numbers.
RUBY_PG = """
require "pg"
settings = { user: "lab", dbname: "lab", sslmode: "disable", gssencmode: "disable" }
puts PG.connect(host: ARGV[0], port: ARGV[1], **settings).exec("select 1").getvalue(0, 0)
"""

# It looks the name up in a thread, and hands libpq the first number.
PSYCOPG_ASYNC = """
import asyncio, sys
import psycopg
async def main():
    host, port = sys.argv[1:]
    settings = {"user": "lab", "dbname": "lab", "sslmode": "disable", "gssencmode": "disable"}
    connection = await psycopg.AsyncConnection.connect(host=host, port=port, autocommit=True, **settings)
    print((await (await connection.execute("select 1")).fetchone())[0])
    await connection.close()
asyncio.run(main())
"""

RUBY_HTTP = """
require "net/http"
puts Net::HTTP.get(URI(ARGV[0]))
"""

NODE = """
const [host, port, autoSelectFamily] = process.argv.slice(1);
require("net").connect({ host, port, autoSelectFamily: autoSelectFamily === "all" })
    .on("error", (error) => { console.error(error.code); process.exitCode = 1; })
    .on("data", (data) => console.log(data.toString()));
"""

TCL = """
proc connected {channel} {
    fileevent $channel writable {}
    set error [fconfigure $channel -error]
    if {$error ne ""} {puts stderr $error; exit 1}
    fileevent $channel readable [list answered $channel]
}
proc answered {channel} {puts [gets $channel]; exit}
set channel [socket -async {*}$argv]
fileevent $channel writable [list connected $channel]
vwait forever
"""

LUA = """
local connection = require("socket").tcp()
connection:settimeout(60)
assert(connection:connect(arg[1], arg[2]))
print(connection:receive())
"""

ERLANG = """
    [Host, Port] = init:get_plain_arguments(),
    case gen_tcp:connect(Host, list_to_integer(Port), [{active, false}]) of
        {ok, Connection} -> {ok, Answer} = gen_tcp:recv(Connection, 0), io:put_chars(Answer), halt(0);
        {error, Reason} -> io:format("~p~n", [Reason]), halt(1)
    end.
"""

JAVA_NIO = """
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.*;
class Select {
    public static void main(String[] words) throws Exception {
        Selector selector = Selector.open();
        SocketChannel channel = SocketChannel.open();
        channel.configureBlocking(false);
        channel.connect(new InetSocketAddress(words[0], Integer.parseInt(words[1])));
        SelectionKey key = channel.register(selector, SelectionKey.OP_CONNECT);
        selector.select();
        channel.finishConnect();
        key.interestOps(SelectionKey.OP_READ);
        selector.select();
        ByteBuffer answer = ByteBuffer.allocate(99);
        channel.read(answer);
        System.out.println(new String(answer.array(), 0, answer.position()));
    }
}
"""

JAVA_HTTP = """
import java.net.URI;
import java.net.http.*;
class Fetch {
    public static void main(String[] words) throws Exception {
        URI uri = new URI("http", null, words[0], Integer.parseInt(words[1]), "/", null, null);
        HttpRequest request = HttpRequest.newBuilder(uri).build();
        System.out.print(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
        System.exit(0);
    }
}
"""

# Ten requests a second, and what would be counted.
WRK = """
function delay() return 100 end
function response(status, headers, body) print(body) end
"""

# Runs the proxy that the further arguments are, in a directory of its own with the configuration that is the first
# argument, and fetches from it once.
PROXIED = """
import os, pathlib, socket, subprocess, sys, tempfile, time
configuration, *words = sys.argv[1:]
with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)
    pathlib.Path("proxy.conf").write_text(configuration)
    with subprocess.Popen(words) as proxy, socket.socket(socket.AF_UNIX) as client:
        try:
            while client.connect_ex("proxy.socket") and proxy.poll() is None:
                time.sleep(0.01)
            client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            answer = client.makefile().read()
        finally:
            proxy.terminate()
    print(answer)
    sys.exit(" 200 " not in answer)
"""

# One user, who may have nothing but the directory: root of a namespace, or nobody.
NGINX_HEAD = """
daemon off;
user root;
pid nginx.pid;
error_log /dev/null;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
"""

NGINX = NGINX_HEAD + """    server {{
        listen unix:proxy.socket;
        location / {{ proxy_pass {url}; }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    retries 0
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen proxy
    bind unix@proxy.socket
    server live {host}:{port} init-addr libc
"""


def proxied(configuration, *words):
    def all_words(host, port):
        text = configuration.format(host=host, port=port, url=url(host, port))
        return [sys.executable, "-c", PROXIED, text, *words]

    return all_words


def php(name, extension, protocol, text, words):
    loaded = ("php", "-r", f"exit(extension_loaded('{extension}') ? 0 : 1);")
    return Client(f"php {name}", "php", protocol, words("php", "-r", text), probe=loaded)


def node(addresses):
    return lambda host, port: ["node", "-e", NODE, host, str(port), addresses]


def scripted(program, text):
    return lambda host, port: [program, script(f"connect.{program}", text), host, str(port)]


def psql(host, port):
    settings = f"host={host} port={port} user=lab dbname=lab sslmode=disable gssencmode=disable"
    return ["psql", "-X", "-At", "-c", "select 1", settings]


def redis_cli(host, port):
    return ["redis-cli", "-h", host, "-p", str(port), "PING"]


def rsync(host, port):
    return ["rsync", f"rsync://{host}:{port}/"]


def lftp(host, port):
    return ["lftp", "-c", f"set net:max-retries 1; cat {url(host, port)}"]


def memcached(*words):
    return lambda host, port: [words[0], f"--servers={host}:{port}", *words[1:]]


def wrk(host, port):
    return ["wrk", "-t1", "-c1", "-d1", "-s", script("answers.lua", WRK), url(host, port)]


def siege(host, port):
    # It says that it writes its configuration when there is none.
    text = 'mkdir -p ~/.siege && : > ~/.siege/siege.conf && exec siege -q -p "$1"'
    return ["sh", "-c", text, "sh", url(host, port)]


def chromium(host, port):
    # Lookups and connects in one process, with libc's resolver. It has many messages, different ones in every run,
    # and would ask its maker's hosts for news.
    words = """
        --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
        --disable-component-update --disable-sync --disable-features=AsyncDns
        --enable-features=NetworkServiceInProcess2 --dump-dom
    """
    text = """
        directory=$(mktemp -d)
        chromium --user-data-dir="$directory" "$@" 2>&1 | grep -o -e "nextaddr-live .*" -e "net::ERR.*"
        rm -r "$directory"
    """
    only = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {host}"
    return ["sh", "-c", text, "sh", *words.split(), only, url(host, port)]


SILENT = frozenset({"silent-first", "two-silent"})

CLIENTS = [
    Client("curl", "curl", "http", fetch("curl", "-sS")),
    Client("wget2", "wget2", "http", fetch("wget2", "--tries=1", "-qO-"), always_zero=True),
    Client("tnftp", "tnftp", "http", fetch("tnftp", "-o", "-")),
    Client("lftp", "lftp", "http", lftp),
    Client("lynx", "lynx", "http", fetch("lynx", "-dump")),
    Client("links", "links", "http", fetch("links", "-dump")),  # leaves an address after 3 s
    # By default aria2c has a resolver of its own. It looks each address up once more, as a number.
    Client("aria2c", "aria2c", "http", saved("aria2c", "--async-dns=false", "-q", "-o", "answer")),
    Client("git http", "git", "http", lambda h, p: ["git", "ls-remote", f"{url(h, p)}it.git"]),
    Client("rsync", "rsync", "rsync", rsync),
    Client("ncat", "ncat", "greeting", plain("ncat")),
    Client("nc.openbsd", "nc.openbsd", "greeting", plain("nc.openbsd")),
    Client("python3 asyncio", sys.executable, "greeting", plain(sys.executable, "-c", PYTHON_ASYNCIO)),
    Client(
        "python3 uvloop",
        sys.executable,
        "greeting",
        plain(sys.executable, "-c", PYTHON_UVLOOP),
        probe=(sys.executable, "-c", "import uvloop"),
    ),
    Client(
        "python3 aiohttp",
        sys.executable,
        "http",
        fetch(sys.executable, "-c", PYTHON_AIOHTTP),
        probe=(sys.executable, "-c", "import aiohttp"),
    ),
    Client("node", "node", "greeting", node("first"), first_only=True),
    Client("node autoselection", "node", "greeting", node("all"), leaves_silence=True),
    Client("java NIO", "javac", "greeting", java("Select", JAVA_NIO), first_only=True),
    Client("java HttpClient", "javac", "http", java("Fetch", JAVA_HTTP), first_only=True),
    Client("php fsockopen", "php", "greeting", plain("php", "-r", PHP_FSOCKOPEN)),
    Client("php file", "php", "http", lambda h, p: ["php", "-r", PHP_FILE, url(h, p)]),
    php("curl", "curl", "http", PHP_CURL, fetch),
    php("pg_connect", "pgsql", "postgres", PHP_PGSQL, plain),
    php("PDO", "pdo_pgsql", "postgres", PHP_PDO, plain),
    php("mysqli", "mysqli", "mysql", PHP_MYSQLI, plain),
    php("redis", "redis", "redis", PHP_REDIS, plain),
    Client("ruby TCPSocket", "ruby", "greeting", plain("ruby", "-e", RUBY)),
    # Its IPv6 sockets are IPV6_V6ONLY, and so are LuaSocket's.
    Client("ruby net/http", "ruby", "http", fetch("ruby", "-e", RUBY_HTTP)),
    Client("tclsh socket -async", "tclsh", "greeting", scripted("tclsh", TCL)),
    Client(
        "LuaSocket",
        "lua5.4",
        "greeting",
        scripted("lua5.4", LUA),
        probe=("lua5.4", "-e", "require('socket')"),
        first_only=True,
    ),
    # Another program, which it has executed, looks names up for it.
    Client("erlang", "erl", "greeting", plain("erl", "-noshell", "-eval", ERLANG, "-extra"), unhelped=SILENT),
    Client("psql", "psql", "postgres", psql),
    Client("ruby pg", "ruby", "postgres", plain("ruby", "-e", RUBY_PG), probe=("ruby", "-e", "require 'pg'")),
    Client(
        "python3 psycopg async",
        sys.executable,
        "postgres",
        plain(sys.executable, "-c", PSYCOPG_ASYNC),
        probe=(sys.executable, "-c", "import psycopg"),
    ),
    Client("redis-cli", "redis-cli", "redis", redis_cli, first_only=True),
    # memccat and memcstat leave an address after 4 s.
    Client("memccat", "memccat", "memcached", memcached("memccat", "key")),
    Client("memcstat", "memcstat", "memcached", memcached("memcstat")),
    Client("memcping", "memcping", "memcached", memcached("memcping"), mute=True),
    Client("ab", "ab", "http", fetch("ab", "-v", "4", "-n", "1")),
    # Tries every address with a blocking connect, then uses those that it found, for at least 1 s.
    Client("wrk", "wrk", "http", wrk, asks_all=True, seconds=1),
    Client("siege", "siege", "http", siege, first_only=True, always_zero=True),
    Client("nginx", "nginx", "http", proxied(NGINX, "nginx", "-e", "/dev/null", "-p", ".", "-c", "proxy.conf")),
    Client("haproxy", "haproxy", "http", proxied(HAPROXY, "haproxy", "-f", "proxy.conf"), first_only=True),
    # Of two silent addresses it leaves none. A slow start.
    Client("chromium", "chromium", "http", chromium, leaves_silence=True, always_zero=True, seconds=15),
]
