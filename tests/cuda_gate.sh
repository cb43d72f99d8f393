#!/bin/bash
# Compiles every kernel for every target and fails on a spill, on a stack frame (whose memory the driver
# takes at the first launch, beside the plan), on a kernel that takes more registers than
# tests/data/cuda_registers.txt allows, and on one that the table does not know.
#
#   tests/cuda_gate.sh [--update]     --update writes the table from what was measured
#
# Exit 77 where there is no nvcc. NVCC names another one; TARGETS other architectures.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
table=$root/tests/data/cuda_registers.txt
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
targets=${TARGETS:-80 90 100 120}

if ! [ -x "$nvcc" ]; then
    echo "SKIP: needs nvcc (put it on PATH, or name it in NVCC)"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gencode=()
for target in $targets; do
    gencode+=(-gencode "arch=compute_$target,code=sm_$target")
done
for source in "$root"/kernels/cuda/*.cu; do
    "$nvcc" -std=c++17 -O3 --fmad=false "${gencode[@]}" -Xptxas -v -I "$root/kernels/cuda/nvcc" \
        -I "$root" -c "$source" -o "$work/object" 2>>"$work/ptxas"
done

# target kernel registers spilled-bytes frame-bytes, one line per kernel
c++filt -p <"$work/ptxas" | sed -n "s/.*Compiling entry function '\(.*\)' for 'sm_\([0-9]*\)'.*/kernel \2 \1/p
    s/.* \([0-9]*\) bytes stack frame, \([0-9]*\) bytes spill stores.*/spill \2 \1/p
    s/.*Used \([0-9]*\) registers.*/used \1/p" |
    awk '$1 == "kernel" { target = $2; name = $0; sub(/^kernel [0-9]+ /, "", name); gsub(/ /, "", name) }
         $1 == "spill"  { spill = $2; frame = $3 }
         $1 == "used"   { print "sm_" target, name, $2, spill, frame }' | sort >"$work/measured"
[ -s "$work/measured" ] || { echo "FAIL: ptxas reported no kernel"; exit 1; }

if [ "${1:-}" = --update ]; then
    {
        echo "# Most registers of each kernel: target, kernel, registers. tests/cuda_gate.sh --update"
        echo "# writes this file ($("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/nvcc \1/p'))."
        awk '{ print $1, $2, $3 }' "$work/measured"
    } >"$table"
fi
awk -v OFS=' ' '
    FNR == NR { if ($1 !~ /^#/) limit[$1, $2] = $3; next }
    $4 > 0 { print "FAIL " $1, $2 ": spills " $4 " bytes"; bad = 1 }
    !(NF == 5 && $5 == 0) { print "FAIL " $1, $2 ": a stack frame of " $5 " bytes"; bad = 1 }
    !(($1, $2) in limit) { print "FAIL " $1, $2 ": not in the table (--update)"; bad = 1; next }
    $3 > limit[$1, $2] { print "FAIL " $1, $2 ": " $3 " registers, at most " limit[$1, $2]; bad = 1 }
    END { print FNR " kernels for '"$(echo $targets | wc -w)"' targets" ; exit bad }' \
    "$table" "$work/measured"
