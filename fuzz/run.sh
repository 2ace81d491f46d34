#!/bin/sh
# Every target for so many seconds, one after the other: fuzz/run.sh [SECONDS]
# Stops at nothing; prints each target's last lines; findings lie in ./crash-*.
here=$(dirname "$0")
for target in command-msgpack command-json message-msgpack message-json manifest line; do
  echo "== $target"
  "${PYTHON:-python}" "$here/fuzz.py" "$target" -max_total_time="${1:-120}" -max_len=9000 \
    -timeout=2 -rss_limit_mb=1024 -print_final_stats=1 2>&1 | grep -v -E '^#|NEW_FUNC|^INFO' | tail -n 25
done
