"""Examples of every command, as --help shows them."""

from __future__ import annotations

from . import application_flags, evaluation_flags, flags

#: A command's flags → examples of it, as --help shows them.
EXAMPLES: dict[type[flags.OutputFlags], tuple[str, ...]] = {
    flags.CondenseFlags: (
        "condense --data ./photos --size 64 --ipc 10 --minutes 10 --out runs/photos",
        "condense --recipe idc --data cifar10 --ipc 1 --dry-run",
    ),
    flags.ResumeFlags: ("resume runs/photos", "resume runs/photos --iterations 2000"),
    flags.PoolFlags: (
        "pool --data cifar10 --count 5 --epochs 20 --out runs/pool",
        "condense --data cifar10 --supply.kind pool --supply.path runs/pool --out runs/set",
    ),
    flags.SelectFlags: (
        "select random --data ./photos --size 64 --ipc 10 --sets 5 --out runs/random",
        "select herding --data mnist --ipc 1 --out runs/herding",
    ),
    evaluation_flags.EvaluateFlags: (
        "evaluate runs/photos runs/random whole --epochs 300",
        "evaluate runs/photos --net convnet4 resnet18 --nets 3 --json accuracy.json",
    ),
    evaluation_flags.CompareFlags: (
        "compare runs/photos random=runs/random theirs.npz whole --reference random",
        "compare runs/a runs/b --net convnet3 mlp --markdown table.md --out runs/compare",
    ),
    evaluation_flags.ReproduceFlags: (
        "reproduce dc/table1 --list",
        "reproduce dm/table1 --row mnist/10/dm --scale 0.1 --sets 1 --nets 3",
    ),
    flags.ShowFlags: ("show runs/photos", "show runs/photos --picture photos.png"),
    flags.ExportFlags: (
        "export runs/photos --to npz --out photos",
        "export runs/photos --to images --out photos --verify",
    ),
    flags.DataCommandFlags: ("data mnist", "data ./photos --size 64"),
    flags.ReportFlags: (
        "report runs/photos --out photos.html",
        "report runs/photos runs/random accuracy.json --data ./photos --out report.html",
    ),
    flags.ListFlags: ("list recipes", "list networks resnet18 --json resnet18.json"),
    application_flags.ContinualFlags: (
        "continual --data cifar10 --steps 5 --memory 10 --methods random herding dm",
        "continual --tasks mnist usps --size 32 --channels 1 --out runs/tasks",
    ),
    application_flags.AdaptFlags: (
        "adapt --source usps --target mnist --size 32 --ipc 1 10",
        "adapt --source usps --target mnist --size 32 --dry-run",
    ),
    application_flags.SearchFlags: (
        "search --data cifar10 --sample 24 --proxies random dm early_stopping --out runs/search",
        "search --data mnist --sample 12 --dry-run",
    ),
}
