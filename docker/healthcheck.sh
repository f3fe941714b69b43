#!/bin/sh
# Succeeds when the server answers /readyz with 200. It needs no curl; /readyz needs no key.
set -eu

exec python3 - "${TRIMTAB_PORT:-8000}" <<'PYTHON'
import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/readyz", timeout=4)
except urllib.error.HTTPError as error:
    raise SystemExit(f"not ready: {error.code}") from None
except OSError as error:
    raise SystemExit(f"not reachable: {error}") from None
PYTHON
