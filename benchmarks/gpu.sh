#!/bin/sh
# Everything that has to be known about one GPU, in at most nine minutes and one command:
#
#     benchmarks/gpu.sh [--out FOLDER] [--wheels FOLDER] [--device cuda|cpu] [--minutes 9] [--quick]
#
# Tests that need a GPU, agreement with the CPU in both precisions, time of a step, batches of replicas, a large cell,
# memory, electrostatics alone.  FOLDER/gpu.json and FOLDER/gpu.md hold what was found.  Every part has its own time limit
# and writes what it has as it goes: one that fails or is cut off costs the others nothing.
#
# Nothing is downloaded.  Python packages that the machine lacks come as wheels in a folder (--wheels, or the variable
# SPECTRA_WHEELS); of torch and numpy the machine's own are used.  `--device cpu --quick` is a rehearsal without a GPU.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
wheels=${SPECTRA_WHEELS:-}
python=${PYTHON:-python3}
out=""
count=$#
while [ "$count" -gt 0 ]; do # our own options are taken out, the others go on
    argument=$1
    shift
    count=$((count - 1))
    case $argument in
    --wheels)
        wheels=$1
        shift
        count=$((count - 1))
        ;;
    --out)
        out=$1
        shift
        count=$((count - 1))
        ;;
    *) set -- "$@" "$argument" ;;
    esac
done
out=${out:-$here/results/gpu}
mkdir -p "$out" || exit 1
if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$out/packages" "$wheels"/*.whl ||
        echo "gpu.sh: not all wheels of $wheels could be installed; going on without them" >&2
    export PYTHONPATH="$out/packages${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$here:$here/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
cd "$here" && exec "$python" benchmarks/gpu_report.py --out "$out" "$@"
