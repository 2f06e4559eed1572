#!/bin/sh
# For a CI job in shell: does our software survive a dead first address? An example to copy; here the software is curl,
# and the service runs on loopback.
#     NEXTADDR=scripts/nextaddr tests/examples/survives.sh
set -eu

nextaddr=${NEXTADDR:-nextaddr}
directory=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$directory"' EXIT
mkdir "$directory/served"
echo alive >"$directory/served/health"
python3 -u -m http.server --directory "$directory/served" 0 >"$directory/server" 2>/dev/null &
server=$!
until port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$directory/server") && [ -n "$port" ]; do sleep 0.1; done

# Fails, with exit status 120, when the command succeeds but nothing had to move on: a mistyped rule cannot pass.
answer=$("$nextaddr" --expect-failover --fault 'api.example#1=refuse' \
    --resolve api.example=127.0.0.1,127.0.0.2 \
    --log info --log-format json --log-file "$directory/log" \
    curl -sSf --max-time 20 "http://api.example:$port/health")

[ "$answer" = alive ]
grep -q '"event":"connect".*"host":"api.example".*"used":"127.0.0.2".*"failover":true' "$directory/log"
echo "survived: $(grep -c '"event":"fault"' "$directory/log") fault, 1 failover"
