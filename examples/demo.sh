#!/usr/bin/env bash
# demo.sh BIN: a server, a search with two workers that really train, stops with their reasons, and the result, in a few minutes.
# BIN is the folder of the commands `curvestop` and `hyperband`.
set -euo pipefail
bin=$(realpath --no-symlinks "$1")
here=$(cd "$(dirname "$0")" && pwd)
home=$(mktemp -d)
out=${2:-$here/../runs/demo}
rm -rf "$out"

# The server prints its address; all its data are in $home.
coproc server { exec "$bin/curvestop" serve --port 0 --data "$home/data" 2>&1; }
server_pid=$server_PID
trap 'kill -TERM $server_pid 2> /dev/null; wait $server_pid 2> /dev/null; rm -rf "$home"' EXIT
address=
while read -r line <&"${server[0]}"; do
    echo "server: $line"
    if [[ $line =~ listening\ on\ +([^ ]+) ]]; then address=${BASH_REMATCH[1]}; break; fi
done
[ -n "$address" ] || { echo "the server did not start" >&2; exit 1; }

export CURVESTOP_TOKEN_FILE=$home/data/token
"$bin/hyperband" plan --max-epochs 27 --mode sync --iterations 6
"$bin/hyperband" run "$here/digits_mlp.py" --space "$here/digits_mlp.toml" --max-epochs 27 --mode sync --iterations 6 \
    --min-curves 12 --metric "validation accuracy" --workers 2 --seed 0 --server "$address" --out "$out"
