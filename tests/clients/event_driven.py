# Client programs that connect without blocking and wait in poll(2), select(2) or epoll(7).
# A program belongs here only when strace has shown that it does.
from clients import Client, plain, url

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

RUBY = """
require "socket"
puts TCPSocket.new(ARGV[0], ARGV[1]).gets
"""


def psql(host, port):
    settings = f"host={host} port={port} user=lab dbname=lab sslmode=disable gssencmode=disable"
    return ["psql", "-X", "-At", "-c", "select 1", settings]


def redis_cli(host, port):
    return ["redis-cli", "-h", host, "-p", str(port), "PING"]


CLIENTS = [
    Client("curl", "curl", "http", lambda h, p: ["curl", "-sS", url(h, p)]),
    Client("git http", "git", "http", lambda h, p: ["git", "ls-remote", f"{url(h, p)}it.git"]),
    Client("nc.openbsd", "nc.openbsd", "greeting", plain("nc.openbsd")),
    Client("php fsockopen", "php", "greeting", plain("php", "-r", PHP_FSOCKOPEN)),
    Client("php file", "php", "http", lambda h, p: ["php", "-r", PHP_FILE, url(h, p)]),
    Client("ruby TCPSocket", "ruby", "greeting", plain("ruby", "-e", RUBY)),
    Client("psql", "psql", "postgres", psql),
    Client("redis-cli", "redis-cli", "redis", redis_cli, first_only=True),
]
