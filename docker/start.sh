#!/bin/sh
# Start the server in a container: all interfaces inside, a key required unless TRIMTAB_OPEN=1 says otherwise.
# Arguments are those of `trimtab serve`. Environment: TRIMTAB_API_KEY, TRIMTAB_CONFIG, TRIMTAB_HOST, TRIMTAB_PORT, TRIMTAB_OPEN.
set -eu

if [ -z "${TRIMTAB_API_KEY:-}" ] && [ -z "${TRIMTAB_CONFIG:-}" ] && [ "${TRIMTAB_OPEN:-}" != 1 ]; then
  case " $* " in
    *" --api-key"* | *" --config"*) ;;
    *)
      echo "start.sh: no key. Set TRIMTAB_API_KEY (or keys in a file named by TRIMTAB_CONFIG)," >&2
      echo "start.sh: or TRIMTAB_OPEN=1 to serve everybody who can reach this port." >&2
      exit 2
      ;;
  esac
fi

export TRIMTAB_HOST="${TRIMTAB_HOST:-0.0.0.0}" TRIMTAB_PORT="${TRIMTAB_PORT:-8000}"
exec trimtab serve "$@"
