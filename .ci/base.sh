#!/usr/bin/env bash
# The README's test command in a clean virtual environment, and the gates.
set -euo pipefail

venv=$CI_SCRATCH/base
"$PYTHON" -m venv "$venv"
export PATH=$venv/bin:$PATH VIRTUAL_ENV=$venv

step() {
  local begin=$SECONDS
  echo "-- $*"
  "$@"
  echo "-- $1: $((SECONDS - begin)) s"
}

# Debian's PostgreSQL, which the tests of jobs start; a machine that can have it may not skip them.
postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
if ! postgres && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && step apt-get install -qq -y --no-install-recommends postgresql; } || echo "PostgreSQL cannot be installed here: its tests are skipped"
fi
if postgres; then export TRIMTAB_REQUIRE_POSTGRES=1; fi

step pip install -qq ".[test]"
step ruff format --check .
step ruff check .
step mypy
step lint-imports
step pytest
