"""From published rows of applications to what is run for them: DC's table 4, DM's 3.5 and 3.6."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .experiment import DC_SELECTIONS, SELECTIONS, Experiment, Settings, Use
from .published import Published

#: Rows that are no set: what they are called here.
_BOUNDS = {"no_adaptation": "none", "early_stopping": "early_stopping", "whole": "whole"}


def use_of(task: str, row: Published, settings: Settings) -> Experiment:
    """What is run for a row of an application, which is one of :data:`USES`."""
    return USES[task](row, settings)


def _experiment(row: Published, **how: Any) -> Experiment:
    selected, bound = row.method in SELECTIONS, row.method in _BOUNDS
    return Experiment(
        data=row.dataset,
        kind="whole" if bound else "select" if selected else "condense",
        method=_BOUNDS.get(row.method, row.method),
        ipc=row.ipc,
        **how,
    )


def _adapted(row: Published, settings: Settings) -> Experiment:
    """DC, table 4 and section 3.2: SVHN and MNIST as 32×32 RGB images."""
    source = settings.take("source")
    settings.expect("target", row.dataset)
    use = Use(
        command="adapt",
        settings={"source_epochs": 100},
        needs=(source,),
        size=32,
        channels=3,
    )
    assumed = (
        "how networks are trained on the source (100 epochs) and fine-tuned (600 steps of 256 "
        "images, .01 and then .001) is not stated, nor how images of the target are normalised "
        "(as the source's)"
    )
    found = _experiment(
        row, net=row.test_net, protocol="finetune", sets=1, nets=5, assumptions=(assumed,), use=use
    )
    through = {"supply.net": row.train_net} if found.kind == "condense" else {}
    return replace(found, method=DC_SELECTIONS.get(found.method, found.method), overrides=through)


def _learned(row: Published, settings: Settings) -> Experiment:
    """DM, section 3.5: class-incremental learning with GDumb."""
    settings.expect("stage", "final")
    settings.expect("base", "gdumb")
    use = Use(command="continual", settings={"steps": int(settings.take("steps"))})
    assumed = "how many orders and networks the mean is over is not stated; five orders of three"
    return _experiment(
        row, net=row.test_net, protocol="gdumb", sets=5, nets=3, assumptions=(assumed,), use=use
    )


def _chosen(row: Published, settings: Settings) -> Experiment:
    """DM, table 5: the test accuracy of the network that a proxy chooses among 720."""
    settings.expect("space", "720_convnets")
    settings.expect("quantity", "best_selected_model")
    assumed = "how networks are trained on the whole data is not stated; it has our own schedule"
    return _experiment(
        row, net="convnet3", protocol="dsa+batch=250", sets=1, nets=5, assumptions=(assumed,),
        use=Use(command="search"),
    )  # fmt: skip


#: What the published numbers call a task → what is run for it.
USES: dict[str, Callable[[Published, Settings], Experiment]] = {
    "few_shot_domain_adaptation": _adapted,
    "class_incremental": _learned,
    "nas": _chosen,
}
