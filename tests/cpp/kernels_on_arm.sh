#!/usr/bin/env bash
# The tests of the kernels for arm64, on another machine: cross-compiled, and run by QEMU, which says whether they
# are right and nothing of how fast they are.
# Debian: apt-get install g++-aarch64-linux-gnu qemu-user; cmake, ninja and Eigen as for the build (see pyproject.toml).
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake -S . -B "$folder" -G Ninja -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DFASTPLR_BUILD_TESTS=ON
cmake --build "$folder" --target test_kernels test_kernel_rows
for test in test_kernels test_kernel_rows; do
    qemu-aarch64 -L /usr/aarch64-linux-gnu "$folder/tests/cpp/$test"
done
