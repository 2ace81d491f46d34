#!/bin/sh
# Targets for so many seconds each, one after the other: fuzz/run.sh SECONDS [TARGET...]
# Stops at nothing; prints each target's last lines; findings lie in ./crash-*.
here=$(dirname "$0")
seconds=$1
shift
[ $# -gt 0 ] || set -- command-msgpack command-json command-struct \
  message-msgpack message-json message-struct manifest line keys modbus mqtt sparkplug opcua
for target; do
  echo "== $target"
  "${PYTHON:-python}" "$here/fuzz.py" "$target" -max_total_time="$seconds" -max_len=9000 \
    -timeout=2 -rss_limit_mb=1024 -print_final_stats=1 2>&1 | grep -v -E '^#|NEW_FUNC|^INFO' | tail -n 25
done
