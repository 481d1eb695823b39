#!/bin/sh
# Negative control: the relay damages every 500th message; the generator must notice each kind.
# usage: MQTTLOAD=path/to/mqttload ./selftest.sh
set -u
L=${MQTTLOAD:-target/release/mqttload}
port=31000
bad=0
for f in none drop dup swap corrupt topic; do
  port=$((port + 1))
  "$L" relay --port $port --mode pairs --fault $f --every 500 &
  r=$!
  sleep 0.5
  out=$("$L" pairs --pairs 5 --count 10000 --port $port --timeout 30 --drain-ms 1000 --broker-pid $r)
  kill $r
  wait $r 2>/dev/null
  case $f in
    none) want='"ok":true' ;;
    drop) want='"lost":100,' ;;
    dup) want='"dups":100,' ;;
    swap) want='"reordered":[1-9]' ;;
    corrupt) want='"damaged":100,' ;;
    topic) want='"topic":100}' ;;
  esac
  if echo "$out" | grep -q "$want"; then echo "fault $f: noticed as expected"; else echo "fault $f: NOT as expected: $out"; bad=1; fi
done
exit $bad
