#!/usr/bin/env bash
# Does what a new user does with scripts/run: start, paste the printed lines, see the message, start again, stop.
set -euo pipefail
cd "$(dirname "$0")/.."
# What is built is tried here, not how fast it is: without what takes minutes.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1

folder=$(mktemp -d)
started=
finish() {
    [ -z "$started" ] || kill "$started" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
fail() {
    echo "error: $*" >&2
    cat "$folder"/*.log >&2 || true
    exit 1
}

# await FILE TEXT SECONDS
await() {
    for _ in $(seq $(($3 * 10))); do
        grep -qF -- "$2" "$1" && return 0
        kill -0 "$started" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

cargo build --release --locked --quiet
mkdir "$folder/state"
target/release/fieldgate config default | sed -E 's/^port = 1883/port = 0/; s/^#? *http = .*/http = "127.0.0.1:0"/' >"$folder/state/gateway.toml"

scripts/run --state-dir "$folder/state" >"$folder/run.log" 2>&1 &
started=$!
await "$folder/run.log" "More:" 600 || fail "scripts/run did not say that it serves"
subscribe=$(grep -o 'mosquitto_sub .*' "$folder/run.log")
publish=$(grep -o 'mosquitto_pub .*' "$folder/run.log")
echo "$subscribe"
echo "$publish"

# The printed lines as they are; the subscriber is told to end after one message.
bash -c "stdbuf -oL $subscribe -C 1 -W 20 -d" >"$folder/heard.log" 2>&1 &
listener=$!
for _ in $(seq 100); do grep -q Subscribed "$folder/heard.log" && break; sleep 0.1; done
bash -c "$publish"
wait "$listener" || fail "the subscriber heard nothing"
grep -qx 'hello/world it works' "$folder/heard.log" || fail "the message is not as published"

scripts/run --state-dir "$folder/state" >"$folder/again.log" 2>&1 || fail "a second scripts/run failed"
grep -q 'running already' "$folder/again.log" || fail "a second scripts/run did not find the first"
grep -qF "$publish" "$folder/again.log" || fail "a second scripts/run prints other lines"

kill -TERM "$started"
wait "$started" || fail "scripts/run ended with $?"
started=

# A port that is taken is said to be taken.
python3 - "$folder" <<'TAKEN' &
import socket, sys, time
taken = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1] + "/taken.port", "w").write(str(taken.getsockname()[1]))
time.sleep(60)
TAKEN
holder=$!
for _ in $(seq 100); do [ -s "$folder/taken.port" ] && break; sleep 0.1; done
sed -i -E "s/^port = 0/port = $(cat "$folder/taken.port")/" "$folder/state/gateway.toml"
if timeout 60 scripts/run --state-dir "$folder/state" >"$folder/taken.log" 2>&1; then fail "a taken port went unnoticed"; fi
kill "$holder"
grep -q 'is taken by another program' "$folder/taken.log" || fail "the message does not say that the port is taken"
grep -q 'hint:' "$folder/taken.log" || fail "no hint"

# A broken file is refused with a message, and nothing is started.
sed -i 's/^authentication = .*/authentification = "none"/' "$folder/state/gateway.toml"
code=0
timeout 60 scripts/run --state-dir "$folder/state" >"$folder/broken.log" 2>&1 || code=$?
[ "$code" = 78 ] || fail "a broken file ends with $code"
grep -q 'authentication' "$folder/broken.log" || fail "the hint does not name the right key"
echo "scripts/run does what the README says"
