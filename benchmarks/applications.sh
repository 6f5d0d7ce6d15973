#!/usr/bin/env bash
# The sessions of docs/applications.md, on two cores; each ends within minutes, and goes on where
# it was stopped. Usage: benchmarks/applications.sh [NAME …]; RUN is put before every command.
set -euo pipefail
export CONDENSERY_DATA="${CONDENSERY_DATA:?a folder with cifar10, mnist and usps}"
results=$(dirname "$0")/results/applications
work=${WORK:-runs/applications}
plan=(--plan "$(dirname "$0")/eager.yaml" --threads 1)
small=(--size 16 --net convnet3:width=16 --condense-net convnet3:width=16 --iterations 50
  --select-epochs 2 "${plan[@]}")
mkdir -p "$results"

session() {  # NAME COMMAND …
  local name=$1
  shift
  ${RUN:-} "${PYTHON:-python}" -m condensery "$@" --out "$work/$1" \
    --json "$results/$name.json" --markdown "$results/$name.md" \
    --picture "docs/images/$name.png"
}

continual_cifar10_gdumb() {
  session continual_cifar10_gdumb continual --data cifar10 --steps 5 --memory 10 "${small[@]}" \
    --methods random herding dm dm_mf --strategy gdumb --epochs 40 --seeds 2 --nets 1
}
continual_cifar10_distil() {
  session continual_cifar10_distil continual --data cifar10 --steps 5 --memory 10 "${small[@]}" \
    --methods random herding dm dm_mf --strategy distil --epochs 20 --seeds 2 --nets 1
}
continual_digits_e2e() {
  session continual_digits_e2e continual --tasks mnist usps digits --channels 1 \
    --memory 10 "${small[@]}" --methods random herding dm --strategy e2e --train-steps 100 --seeds 2
}
continual_digits_e2e_distil() {
  session continual_digits_e2e_distil continual --tasks mnist usps digits --channels 1 \
    --memory 10 "${small[@]}" --methods random herding dm --strategy e2e_distil \
    --train-steps 100 --seeds 2
}
adapt_usps_mnist() {
  session adapt_usps_mnist adapt --source usps --target mnist --channels 1 "${small[@]}" \
    --ipc 1 10 --methods random herding dm --source-epochs 4 --finetune-steps 100 --nets 2
}
adapt_mnist_usps() {
  session adapt_mnist_usps adapt --source mnist --target usps --channels 1 "${small[@]}" \
    --ipc 1 10 --methods random herding dm --source-epochs 1 --finetune-steps 100 --nets 2
}
search_usps() {
  session search_usps search --data usps --space "$(dirname "$0")/space.yaml" --ipc 10 \
    --condense-net convnet3:width=16 --iterations 50 "${plan[@]}" --epochs 60 --whole-epochs 4 \
    --repeats 1 --proxies random dm early_stopping
}

all=(continual_cifar10_gdumb continual_digits_e2e adapt_usps_mnist search_usps
  continual_cifar10_distil continual_digits_e2e_distil adapt_mnist_usps)
for name in "${@:-${all[@]}}"; do
  "$name"
done
