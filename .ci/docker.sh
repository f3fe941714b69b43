#!/usr/bin/env bash
# The Dockerfile's install and start steps in a clean environment: the server becomes ready, asks for its key, answers, drains.
set -euo pipefail

venv=$CI_SCRATCH/docker
log=$CI_SCRATCH/server.log
begin=$SECONDS
docker/install.sh "$venv"
echo "-- install.sh: $((SECONDS - begin)) s"

export PATH=$venv/bin:$PATH
TRIMTAB_PORT=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export TRIMTAB_PORT TRIMTAB_DATA_DIR=$CI_SCRATCH/state

if docker/start.sh >"$log" 2>&1; then
  echo "start.sh served without a key" >&2
  exit 1
fi

export TRIMTAB_API_KEY=ci-key TRIMTAB_HOST=127.0.0.1
begin=$SECONDS
docker/start.sh >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; cat "$log" >&2' EXIT
until docker/healthcheck.sh 2>/dev/null; do
  kill -0 "$server" || { echo "the server ended before it was ready" >&2; exit 1; }
  [ $((SECONDS - begin)) -lt 300 ] || { echo "not ready after 300 s" >&2; exit 1; }
  sleep 1
done
echo "-- start.sh: ready after $((SECONDS - begin)) s"

python - "$TRIMTAB_PORT" <<'PYTHON'
import json
import sys
import urllib.error
import urllib.request

url = f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions"
body = json.dumps({"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}).encode()
plain = {"content-type": "application/json"}
try:
    urllib.request.urlopen(urllib.request.Request(url, body, plain), timeout=60)
except urllib.error.HTTPError as error:
    assert error.code == 401, f"without a key: {error.code}, expected 401"
else:
    raise SystemExit("answered without a key")
with urllib.request.urlopen(urllib.request.Request(url, body, {**plain, "authorization": "Bearer ci-key"}), timeout=60) as answer:
    text = json.load(answer)["choices"][0]["message"]["content"]
assert text, "an empty answer"
print("-- answered:", json.dumps(text))
PYTHON

trap - EXIT
kill -TERM "$server"
wait "$server" || { status=$?; cat "$log" >&2; echo "SIGTERM ended the server with $status, expected 0" >&2; exit 1; }
echo "-- drained on SIGTERM"
