#!/usr/bin/env bash
# The pages of docs/gallery.md that a few minutes on two CPU cores make:
#
#   CONDENSERY_DATA=DATA benchmarks/gallery.sh
#
# DATA holds usps, fsdd and imagenette96 in parquet. Runs stay in runs/gallery, and the same command
# continues them. The other pages are of runs that take longer; each says how its run is repeated.
set -euo pipefail
cd "$(dirname "$0")/.."
pages=$PWD/docs/extra/gallery
condensery=${CONDENSERY:-condensery}
mkdir -p runs/gallery
cd runs/gallery
for name in imagenette96 fsdd; do ln -sfn "$CONDENSERY_DATA/$name" "$name"; done

# Photographs: few iterations through narrow networks, far from what the method can do.
$condensery condense --recipe dm_mf --data ./imagenette96 --size 64 --ipc 5 --real-batch 32 \
  --supply.net convnet4:width=64 --optimizer.rate 10 --iterations 60 --plan.compile false \
  --out imagenette-dm_mf
$condensery report imagenette-dm_mf --out "$pages/imagenette-dm_mf.html"

# A comparison on USPS, one image per class.
$condensery condense --recipe dm --data usps --ipc 1 --real-batch 64 --iterations 100 --sets 2 --plan.compile false \
  --out usps-dm
$condensery select herding --data usps --ipc 1 --epochs 3 --out usps-herding
$condensery compare random herding=usps-herding dm=usps-dm --data usps --nets 3 --epochs 100 \
  --reference random --json usps-compare.json --plot usps-compare.svg --out usps-compare
$condensery report usps-compare.json usps-dm usps-herding --out "$pages/usps-compare.html"

# Spoken digits, which the page can play.
$condensery condense --recipe dm --data ./fsdd --ipc 1 --real-batch 32 --iterations 40 \
  --supply.net convnet4:width=32 --plan.compile false --out fsdd-dm
$condensery report fsdd-dm --out "$pages/fsdd-dm.html"
