"""From a published row of IDC to what is run for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .experiment import (
    CONDENSED_THROUGH,
    SELECTIONS,
    TESTED,
    WHOLE,
    Experiment,
    NoRecipeError,
    Settings,
    quoted,
)
from .published import Published

#: Where IDC ran the methods of others itself, and does not say how.
_LARGE = ("imagenet10", "imagenet100", "mini_speech_commands")
#: Three evaluations of one set (table 1).
_NETS = 3


def idc(row: Published, settings: Settings) -> Experiment:
    """IDC: one set and three networks under its own protocol, unless a number is quoted."""
    settings.expect("resolution", "224x224")
    settings.expect("spectrogram", "64x64")
    settings.expect("eval_aug", "strong")  # with CutMix, as the protocol has it
    fixed = settings.take("steps") == "fixed"
    found = replace(
        quoted(row, row.method),
        net=_tested(row),
        protocol="idc_steps" if fixed else "idc",
        sets=1,
        nets=_NETS,
        assumptions=(WHOLE.replace("five", "three"),) if row.method == "whole" else (),
    )
    if row.method in SELECTIONS or row.method == "whole":
        return found
    if row.method in ("dsa", "dm", "dm_mf"):
        return _of_others(row, settings, found)
    return _own(row, settings, found)


def _tested(row: Published) -> str:
    if row.dataset in ("imagenet10", "imagenet100") and row.test_net == "resnet18":
        return "resnet18_imagenet"
    return TESTED.get(row.test_net, row.test_net)


def _of_others(row: Published, settings: Settings, found: Experiment) -> Experiment:
    """DSA and DM, re-evaluated or run anew (appendix C.2)."""
    if row.dataset in _LARGE:
        raise NoRecipeError(f"how {row.method} was run on {row.dataset} is not stated")
    if row.method == "dsa":
        settings.expect("network_data", "synthetic")
        settings.expect("objective", "cosine")
        if row.setting.get("eval_aug") == "strong":
            return found
        if row.test_net == "convnet3":  # the number of the DSA paper
            return replace(found, protocol="dsa", sets=5, nets=20)
        said = "DSA's sets are tested by DSA's own protocol (appendix C.2), three networks"
        return replace(found, protocol="dsa", assumptions=(said,))
    if row.method == "dm":
        # Table 10 prints the DM paper's numbers for MNIST; C.2 quotes one for CIFAR-10.
        settings.expect("source", "dm_paper")
        if row.setting.get("source") or (row.table == "table10" and row.dataset == "mnist"):
            return replace(found, protocol="dsa", sets=5, nets=20)
    said = "IDC tuned the pixel rate of DM and does not print it; this is DM's own"
    if row.method == "dm_mf":
        settings.expect("factor", "2")
    return replace(found, assumptions=(said,))


def _own(row: Published, settings: Settings, found: Experiment) -> Experiment:
    """IDC and IDC-I with what its tables change."""
    if row.dataset == "imagenet100":
        raise NoRecipeError("a pool of ten networks that are trained first (appendix C.1)")
    settings.expect("axis", "time")
    settings.drop("stored")  # follows from the budget
    over: dict[str, Any] = dict(found.overrides)
    assumed: list[str] = []
    method = row.method
    if row.table == "table12":
        over["supply.net"] = _through(row, settings)
    if row.table == "table5":
        method = _ablation(settings)
    over |= _formation(row, settings, assumed)
    if settings.take("condense_aug", "strong") == "weak":
        over["supply.cutmix"] = 0.0
        assumed.append("without strong augmentation means without CutMix (appendix E.2)")
    zca = settings.take("zca", "no") == "yes"
    return replace(found, method=method, overrides=over, zca=zca, assumptions=tuple(assumed))


def _through(row: Published, settings: Settings) -> str:
    """Table 12: networks that are condensed through, with instance norm (appendix E.4)."""
    settings.expect("norm", "instance")
    net = CONDENSED_THROUGH.get(row.train_net, row.train_net)
    width = settings.take("synth_width")
    options = [f"width={width}"] if width else ["norm=instance"] if net == "resnet10" else []
    return ":".join([net, *options])


def _ablation(settings: Settings) -> str:
    """Table 5: a recipe for each of its columns."""
    if settings.take("regularization") == "strong":
        settings.drop("network_data", "objective")
        return "idc_i"
    columns = {"synthetic": {"mse": "idc_i_syn_mse"}}
    columns["real"] = {"mse": "idc_i_real_mse", "cosine": "idc_i_real_cosine"}
    return columns[settings.take("network_data")][settings.take("objective")]


def _formation(row: Published, settings: Settings, assumed: list[str]) -> dict[str, Any]:
    """Settings of the formation: the factor where it is not the recipe's, and its kind."""
    usual = "3" if row.dataset == "imagenet10" else "2"
    own = usual if row.method == "idc" else "1"
    factor = settings.take("factor", own)
    kind = settings.take("formation", "uniform")
    if kind == "fsrcnn":
        assumed.append("the sizes of FSRCNN are not stated; these are the formation's defaults")
        return {
            "formation.kind": "fsrcnn",
            "formation.factor": int(factor),
            "formation.space": "unit",
        }
    out: dict[str, Any] = {} if factor == own else {"formation.factor": int(factor)}
    if kind == "multi_scale":
        assumed.append("scales up to the default factor of 2")
        out["formation.mode"] = "multi_scale"
    elif kind not in ("uniform", "upsample"):
        raise NoRecipeError(f"setting formation={kind}")
    return out
