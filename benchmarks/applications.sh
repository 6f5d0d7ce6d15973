#!/usr/bin/env bash
# The sessions of docs/applications.md, on two cores; each ends within minutes, and goes on where
# it was stopped. Usage: benchmarks/applications.sh [NAME …]; RUN is put before every command.
set -euo pipefail
export CONDENSERY_DATA="${CONDENSERY_DATA:?a folder with cifar10, mnist and usps}"
results=$(dirname "$0")/results/applications
work=${WORK:-runs/applications}
small=(--net convnet3:width=32 --condense-net convnet3:width=32 --iterations 100 --threads 1)
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
    --methods random herding dm dm_mf --strategy gdumb --epochs 100 --seeds 2 --nets 2
}
continual_cifar10_distil() {
  session continual_cifar10_distil continual --data cifar10 --steps 5 --memory 10 "${small[@]}" \
    --methods random herding dm dm_mf --strategy distil --epochs 50 --seeds 2 --nets 1
}
continual_digits_e2e() {
  session continual_digits_e2e continual --tasks mnist usps digits --size 32 --channels 1 \
    --memory 10 "${small[@]}" --methods random herding dm --strategy e2e --train-steps 150 --seeds 3
}
continual_digits_e2e_distil() {
  session continual_digits_e2e_distil continual --tasks mnist usps digits --size 32 --channels 1 \
    --memory 10 "${small[@]}" --methods random herding dm --strategy e2e_distil \
    --train-steps 150 --seeds 3
}
adapt_usps_mnist() {
  session adapt_usps_mnist adapt --source usps --target mnist --size 32 --channels 1 "${small[@]}" \
    --ipc 1 10 --methods random herding dm --source-epochs 5 --finetune-steps 200 --nets 3
}
adapt_mnist_usps() {
  session adapt_mnist_usps adapt --source mnist --target usps --size 32 --channels 1 "${small[@]}" \
    --ipc 1 10 --methods random herding dm --source-epochs 1 --finetune-steps 200 --nets 3
}
search_cifar10() {
  session search_cifar10 search --data cifar10 --space "$(dirname "$0")/space.yaml" --ipc 10 \
    --condense-net convnet3:width=32 --iterations 100 --threads 1 --epochs 60 --whole-epochs 2 \
    --repeats 1 --proxies random dm early_stopping
}

all=(continual_cifar10_gdumb continual_digits_e2e adapt_usps_mnist search_cifar10
  continual_cifar10_distil continual_digits_e2e_distil adapt_mnist_usps)
for name in "${@:-${all[@]}}"; do
  "$name"
done
