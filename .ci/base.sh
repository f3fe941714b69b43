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

step pip install -qq ".[test]"
step ruff format --check .
step ruff check .
step mypy
step lint-imports
step pytest
