"""Selections against slow versions of themselves, and through the command."""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import condensery
from condensery import CondensedSet, DataError, UsageError, load, select, select_random
from condensery.cli.main import main
from condensery.data import Data
from condensery.errors import DivergedError
from condensery.nets import build, embed
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.selection import (
    SELECTIONS,
    ForgettingEvents,
    Networks,
    herding,
    k_center,
    k_means,
    most_forgettable,
    nearest,
    networks,
)
from condensery.selection.folder import Selections
from condensery.training.protocol import Protocol
from condensery.training.trainer import Course, Split, Trainer
from condensery.utils.locks import in_use
from condensery.utils.progress import Progress
from tests.conftest import tiny

NET = "convnet2:width=4"
EXACT = exact_plan("cpu", 1)
#: A training that takes a moment.
SHORT: dict[str, Any] = {"net": NET, "epochs": 3, "batch": 5, "plan": EXACT}
#: Those that keep whole images; rded has its own tests.
WHOLE = [name for name in SELECTIONS if name != "rded"]
TRAINED = [name for name in WHOLE if name != "random"]


@pytest.fixture(autouse=True)
def _code_of_a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of changed code are not kept; here they are, in the test's own cache."""
    monkeypatch.setattr(networks, "commit", lambda: None)


def clouds(m: int, d: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((m, d)))


def slow_herding(features: Any, n: int) -> list[int]:
    """The definition: each further image leaves the mean of those chosen nearest to the class's."""
    phi = np.asarray(features, dtype=np.float64)
    mean, chosen = phi.mean(axis=0), list[int]()
    for k in range(1, n + 1):
        left = [i for i in range(len(phi)) if i not in chosen]
        errors = [np.linalg.norm(mean - phi[[*chosen, i]].sum(axis=0) / k) for i in left]
        chosen.append(left[int(np.argmin(errors))])
    return chosen


def slow_k_center(features: Any, n: int) -> list[int]:
    """The definition: begin in the middle, then always the image farthest from those chosen."""
    phi = np.asarray(features, dtype=np.float64)
    chosen = [int(np.argmin(np.linalg.norm(phi - phi.mean(axis=0), axis=1)))]
    while len(chosen) < n:
        away = [min(np.linalg.norm(phi[i] - phi[j]) for j in chosen) for i in range(len(phi))]
        chosen.append(int(np.argmax(away)))
    return chosen


def radius(phi: Any, centres: Any) -> float:
    away = np.linalg.norm(phi[:, None] - phi[list(centres)][None], axis=2)
    return float(away.min(axis=1).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_herding_and_k_center_are_their_definitions(seed: int, dtype: torch.dtype) -> None:
    # A large common part, as features after a ReLU have, must not cost digits.
    features = (clouds(60, 24, seed) + 50).to(dtype)
    assert herding(features, 25).tolist() == slow_herding(features, 25)
    assert k_center(features, 25).tolist() == slow_k_center(features, 25)


@pytest.mark.parametrize("choose", [herding, k_center, nearest])
def test_all_begin_in_the_middle_and_go_on(choose: Any) -> None:
    features = clouds(40, 6, 7)
    middle = int((features - features.mean(0)).norm(dim=1).argmin())
    order = choose(features, 40).tolist()
    assert order[0] == middle
    assert sorted(order) == list(range(40)), "no image is taken twice"
    for n in (1, 5, 17):
        assert choose(features, n).tolist() == order[:n]


@pytest.mark.parametrize("choose", [herding, k_center, nearest])
def test_equal_images_are_taken_once_each_and_the_first_of_them_first(choose: Any) -> None:
    features = torch.tensor([[3.0], [1.0], [1.0], [-1.0], [-1.0], [1.0]]).repeat_interleave(2, 0)
    order = choose(features, 12).tolist()
    assert sorted(order) == list(range(12))
    places = {row: k for k, row in enumerate(order)}
    for row in range(0, 12, 2):
        assert places[row] < places[row + 1]
    assert choose(torch.zeros(4, 3), 3).tolist() == [0, 1, 2]


def test_herded_means_are_nearer_than_random_ones() -> None:
    features = clouds(200, 10, 3)
    mean = features.mean(0)
    found = (features[herding(features, 10)].mean(0) - mean).norm()
    rng = np.random.default_rng(0)
    draws = [features[rng.choice(200, 10, replace=False)].mean(0) - mean for _ in range(200)]
    assert found < 0.5 * min(float(draw.norm()) for draw in draws)


def test_k_means_takes_the_image_nearest_to_each_cluster() -> None:
    # Clusters far apart: the mean of each is known, and so is the image nearest to it.
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]], dtype=torch.float64)
    sizes = (9, 5, 7)
    points = torch.cat(
        [c + clouds(n, 2, i) for i, (c, n) in enumerate(zip(centres, sizes, strict=True))]
    )
    expected, first = [], 0
    for n in sizes:
        group = points[first : first + n]
        away = (group - group.mean(0)).norm(dim=1)
        expected.append((n, first + int(away.argmin())))
        first += n
    largest_first = [image for _, image in sorted(expected, reverse=True)]
    assert k_means(points, 3, seed=4).tolist() == largest_first
    assert sorted(k_means(points, len(points), seed=0).tolist()) == list(range(len(points)))


@pytest.mark.parametrize("seed", range(12))
def test_k_center_is_within_twice_the_least_radius(seed: int) -> None:
    phi = clouds(9, 2, seed).numpy()
    for n in (1, 2, 3, 4):
        best = min(radius(phi, centres) for centres in itertools.combinations(range(9), n))
        assert radius(phi, k_center(torch.from_numpy(phi), n).tolist()) <= 2 * best + 1e-12


def test_forgetting_events_are_counted_as_one_would_by_hand() -> None:
    rng = np.random.default_rng(0)
    images, epochs = 30, 9
    events = ForgettingEvents(images)
    seen: dict[int, list[bool]] = {row: [] for row in range(images)}
    for _ in range(epochs):
        order = rng.permutation(images)
        for rows in np.array_split(order, 4):
            right = rng.random(len(rows)) < 0.5
            right &= rows != 11  # never learned
            events(torch.from_numpy(rows), torch.from_numpy(right))
            for row, hit in zip(rows, right, strict=True):
                seen[int(row)].append(bool(hit))
    for row, hits in seen.items():
        falls = sum(a and not b for a, b in itertools.pairwise(hits))
        found = int(events.forgotten[row]), bool(events.learned[row]), bool(events.right[row])
        assert found == (falls, any(hits), hits[-1])
    assert not events.learned[11]
    assert int(events.forgotten.max()) > 1


class Recorded(Split):
    """A split that looks, at every batch, at what the network says before the step."""

    network: torch.nn.Module
    seen: list[tuple[Tensor, Tensor]]

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = super().take(rows)
        with torch.no_grad():
            self.seen.append((rows, self.network(images).argmax(1) == labels))
        return images, labels


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("net", [NET, f"{NET},norm=batch"])
def test_a_watched_course_tells_the_hits_before_each_step(
    net: str, chunk: int | None, tiny_data: Data
) -> None:
    protocol = Protocol(name="x", epochs=4, batch=5, rate=0.1)
    plan = Plan(chunk=chunk)

    def run(watch: Any, recorded: bool) -> tuple[Tensor, Any]:
        trainer = Trainer(protocol, plan, flip=False, seed=0)
        with fork_rng(0, "x"):
            network = build(net, (1, 8, 8), 3)
        split = Recorded(tiny_data.train) if recorded else Split(tiny_data.train)
        if isinstance(split, Recorded):
            object.__setattr__(split, "network", network)
            object.__setattr__(split, "seen", [])
        course = Course(trainer, network, watch=watch)
        for epoch in range(4):
            course.epoch(split, stream(0, "x", 0, epoch), epoch)
        weights = torch.cat([w.detach().flatten() for w in network.parameters()])
        return weights, split

    told: list[tuple[Tensor, Tensor]] = []
    _, split = run(lambda rows, right: told.append((rows, right)), True)
    assert len(told) == len(split.seen)
    for (rows, right), (own_rows, own) in zip(told, split.seen, strict=True):
        assert torch.equal(rows, own_rows)
        assert torch.equal(right, own)
    # Watching changes nothing.
    assert torch.equal(run(lambda rows, right: None, False)[0], run(None, False)[0])


def test_the_most_forgettable_come_first() -> None:
    forgotten = torch.tensor([0, 3, 1, 0, 3, 2, 0, 1], dtype=torch.int32)
    learned = torch.tensor([True, True, True, False, True, True, True, True])
    draws = [most_forgettable(forgotten, 8, stream(s, "x"), learned).tolist() for s in range(40)]
    for order in draws:
        # Never learned, three times, twice, once, never.
        assert order[0] == 3
        assert (set(order[1:3]), order[3]) == ({1, 4}, 5)
        assert (set(order[4:6]), set(order[6:])) == ({2, 7}, {0, 6})
    # Each order of an equal pair is drawn; the same draw is the same order.
    assert {tuple(order[1:3]) for order in draws} == {(1, 4), (4, 1)}
    assert most_forgettable(forgotten, 3, stream(7, "x"), learned).tolist() == draws[7][:3]


def test_images_that_were_never_learned_count_nothing_by_the_papers_rule() -> None:
    forgotten = torch.tensor([0, 3, 1, 0, 3, 2, 0, 1], dtype=torch.int32)  # 3 was never learned
    draws = [most_forgettable(forgotten, 8, stream(s, "x")).tolist() for s in range(40)]
    for order in draws:
        assert (set(order[:2]), order[2]) == ({1, 4}, 5)
        assert (set(order[3:5]), set(order[5:])) == ({2, 7}, {0, 3, 6})
    assert {order[5] for order in draws} == {0, 3, 6}, "ties are drawn"


@pytest.mark.parametrize("seed", range(4))
def test_nearest_takes_the_images_around_the_middle(seed: int) -> None:
    features = clouds(60, 24, seed)
    away = np.linalg.norm(features.numpy() - features.numpy().mean(0), axis=1)
    expected = sorted(range(60), key=lambda row: away[row])
    assert nearest(features, 25).tolist() == expected[:25]
    # Herding goes on elsewhere: its images' mean is nearer to that of the class.
    mean = features.mean(0)
    errors = [(features[f(features, 10)].mean(0) - mean).norm() for f in (herding, nearest)]
    assert errors[0] < errors[1]


def test_a_selection_by_the_earlier_rule_of_forgetting_is_not_taken_for_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["select", "forgetting", "--ipc", "1", "--epochs", "1", "--net", NET, "--quiet"]
    command = [*words, "--plan", "exact", "--out", str(tmp_path)]
    assert main(command) == 0
    chosen = CondensedSet.load(tmp_path)
    assert chosen.about.config["never_learned"] == "0"
    config = {k: v for k, v in chosen.about.config.items() if k != "never_learned"}
    about = dataclasses.replace(chosen.about, config=config)
    CondensedSet(chosen.stored, about, chosen.formation).save(tmp_path)
    assert main(command) == 2
    assert "never_learned there: None, here: 0" in capsys.readouterr().err


def rows_of(condensed: CondensedSet, data: Data) -> list[list[int]]:
    """Which training images a selection holds, class by class."""
    pixels = {image.numpy().tobytes(): n for n, image in enumerate(data.train.normalised())}
    return [[pixels[image.numpy().tobytes()] for image in part] for part in condensed.stored]


@pytest.mark.parametrize("method", WHOLE)
def test_a_selection_holds_real_images_of_its_classes(
    method: str, tiny_data: Data, tmp_path: Path
) -> None:
    how = {} if method == "random" else SHORT
    chosen = select(tiny_data, method, ipc=7, seed=3, **how)
    rows = rows_of(chosen, tiny_data)
    for c, found in enumerate(rows):
        assert (len(found), len(set(found))) == (7, 7)
        assert set(found) <= set(tiny_data.train.index[c].tolist())
    about = chosen.about
    assert (about.method, about.ipc, about.seed, about.iterations) == (method, 7, 3, 0)
    assert about.config["select"] == method
    # Decimal fractions survive the file.
    assert CondensedSet.load(chosen.save(tmp_path)).about == about
    assert rows_of(SELECTIONS[method](tiny_data, ipc=7, seed=3, **how), tiny_data) == rows
    with pytest.raises(DataError, match=r"fewer than the 8 requested; use ipc=7 or less$"):
        select(tiny_data, method, ipc=8, **how)
    with pytest.raises(UsageError, match="ipc must be at least 1"):
        select(tiny_data, method, ipc=0, **how)
    with pytest.raises(UsageError, match="seed must lie in"):
        select(tiny_data, method, ipc=1, seed=-1, **how)


@pytest.mark.parametrize("net", [NET, f"{NET},norm=batch"])
def test_a_selection_is_what_its_network_says(net: str, tiny_data: Data) -> None:
    shared = Networks.of(tiny_data, **{**SHORT, "net": net, "plan": Plan(chunk=4)})
    trained, train = shared.trained(5), tiny_data.train
    found = {m: rows_of(select(tiny_data, m, ipc=4, seed=5, networks=shared), tiny_data) for m in
             TRAINED}  # fmt: skip
    for c, members in enumerate(train.index):
        with torch.no_grad():
            phi = embed(trained.network, train.normalised(members))
        assert found["herding"][c] == members[slow_herding(phi, 4)].tolist()
        assert found["k_center"][c] == members[slow_k_center(phi, 4)].tolist()
        scores = [
            float(trained.forgotten[row]) if trained.learned[row] else float("inf")
            for row in members
        ]
        kept = [scores[members.tolist().index(row)] for row in found["forgetting_toneva"][c]]
        assert kept == sorted(scores, reverse=True)[:4]
        counts = [int(trained.forgotten[row]) for row in members]
        kept = [counts[members.tolist().index(row)] for row in found["forgetting"][c]]
        assert kept == sorted(counts, reverse=True)[:4]
        away = (phi - phi.mean(0)).norm(dim=1)
        assert found["nearest"][c] == members[away.argsort()[:4]].tolist()
    assert not trained.network.training
    assert 0 < trained.accuracy <= 100


def files(method: str, data: Data, folder: Path, **given: Any) -> bytes:
    how = {**SHORT, **given} if method != "random" else {}
    return select(data, method, ipc=2, seed=1, **how).save(folder).read_bytes()


@pytest.mark.parametrize("method", WHOLE)
def test_the_same_seed_gives_the_same_bytes_whatever_is_tested(
    method: str, tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = files(method, tiny_data, tmp_path / "a")
    assert files(method, tiny_data, tmp_path / "cached") == clean
    monkeypatch.setenv("CONDENSERY_CACHE", str(tmp_path / "other"))
    assert files(method, tiny_data, tmp_path / "b") == clean
    monkeypatch.setenv("CONDENSERY_CACHE", str(tmp_path / "third"))
    train = tiny_data.train
    poison = (255 - tiny_data.test.images, tiny_data.test.labels.flip(0))
    poisoned = load((train.images.clone(), train.labels.clone()), test=poison, flip=True)
    assert files(method, poisoned, tmp_path / "c") == clean


def test_seeds_are_other_networks(tiny_data: Data) -> None:
    shared = Networks.of(tiny_data, **SHORT)
    weights = [next(shared.trained(seed).network.parameters()).clone() for seed in (0, 1, 0)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds whose networks are trained from here on."""
    seeds: list[int] = []
    plain = Networks._train

    def counted(self: Networks, seed: int) -> Any:
        seeds.append(seed)
        return plain(self, seed)

    monkeypatch.setattr(Networks, "_train", counted)
    return seeds


def test_a_network_is_trained_once(
    tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSERY_CACHE", str(tmp_path))
    seeds = counting(monkeypatch)
    first = {m: select(tiny_data, m, ipc=3, **SHORT).stored for m in TRAINED}
    more = {m: select(tiny_data, m, ipc=5, **SHORT).stored for m in TRAINED}
    assert seeds == [0]
    for method in TRAINED:
        if method == "kmeans":  # centroids of their own for each number of images
            continue
        assert torch.equal(more[method][:, :3], first[method]), "a larger set goes on"
    # Other settings, other data, another seed, another plan: other networks.
    select(tiny_data, "herding", ipc=3, **{**SHORT, "rate": 0.01})
    select(tiny(counts=(9, 9)), "herding", ipc=3, **SHORT)
    select(tiny_data, "herding", ipc=3, seed=1, **SHORT)
    select(tiny_data, "herding", ipc=3, **{**SHORT, "plan": Plan(chunk=3)})
    assert seeds == [0, 0, 0, 1, 0]
    (file,) = [f for f in tmp_path.rglob("*.safetensors") if f.stat().st_mtime_ns == min(
        g.stat().st_mtime_ns for g in tmp_path.rglob("*.safetensors"))]  # fmt: skip
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(select(tiny_data, "k_center", ipc=3, **SHORT).stored, first["k_center"])
    assert seeds == [0, 0, 0, 1, 0, 0]
    # Code that was changed since its commit is not known by it.
    monkeypatch.setattr(networks, "commit", lambda: "abc+changes")
    select(tiny_data, "herding", ipc=3, **SHORT)
    assert len(seeds) == 7


def test_a_network_that_leaves_the_finite_numbers(tiny_data: Data) -> None:
    with pytest.raises(DivergedError, match="lower --rate"):
        select(tiny_data, "herding", ipc=1, **{**SHORT, "rate": 1e30})


def test_settings_that_do_not_fit_are_refused(tiny_data: Data) -> None:
    shared = Networks.of(tiny_data, **SHORT)
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("random", {"epochs": 3, "net": NET}, r"trains no network; leave out epochs, network"),
        ("herdin", {}, "did you mean 'herding'"),
        ("k-centre", {}, "did you mean 'k-center'"),
        ("herding", {**SHORT, "epochs": 0}, "^epochs must be at least 1"),
        ("herding", {**SHORT, "rate": float("nan")}, "rate must be positive"),
        ("herding", {**SHORT, "epoch": 3}, "did you mean 'training.epochs'"),
        ("herding", {**SHORT, "augmentation": "dsa"}, "augmentation"),
        ("herding", {"networks": shared, "epochs": 3}, "leave out epochs"),
    ]
    for method, how, message in cases:
        with pytest.raises(UsageError, match=message):
            select(tiny_data, method, ipc=1, **how)
    with pytest.raises(UsageError, match="other data"):
        select(tiny(counts=(9, 9)), "herding", ipc=1, networks=shared)


def test_random_selection_says_what_it_always_said(tiny_data: Data) -> None:
    about = select_random(tiny_data, ipc=2, seed=4).about
    assert about.config == {
        "select": "random", "data": None, "size": None, "channels": None, "flip": None, "ipc": 2,
        "seed": 4,
    }  # fmt: skip
    assert condensery.select is select


QUICK = ["--net", NET, "--epochs", "1", "--threads", "1", "--plan", "exact"]


@pytest.mark.parametrize("method", ["random", "herding", "k-center", "forgetting"])
def test_every_method_through_the_command(
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--threads", "1"] if method == "random" else QUICK
    line = ["select", method, "--ipc", "2", "--sets", "2", "--seed", "3", *quick]
    assert main([*line, "--json", "s.json"]) == 0
    shown = capsys.readouterr()
    name = method.replace("-", "_")
    made = json.loads(Path("s.json").read_text())["runs"]
    place = Path("runs") / f"digits-{name}-ipc2"
    assert [(one["method"], one["seed"], one["out"]) for one in made] == [
        (name, 3, str(place / "0")),
        (name, 4, str(place / "1")),
    ]
    beside = "whole" if method == "random" else "random whole"
    assert shown.out.splitlines()[-1] == f"next: condensery evaluate {place} {beside} --minutes 5"
    folder = {file.name for file in (place / "0").iterdir()}
    assert folder == {"condensed.safetensors", "recipe.yaml", "images.png", "run.json"}
    recipe = yaml.safe_load((place / "1" / "recipe.yaml").read_text())
    assert recipe == {**made[1]["config"], "data": "digits"}
    facts = json.loads((place / "0" / "run.json").read_text())
    if method == "random":
        assert ("training" in recipe, facts["plan"]) == (False, None)
    else:
        assert recipe["training"]["net"] == NET
        assert recipe["training"]["epochs"] == 1
        assert 5 < recipe["train_accuracy"] <= 100
        assert facts["plan"]["name"] == "exact"
        assert "12/12 steps" in shown.err
        assert "training" in shown.out
    sets = [(place / k / "condensed.safetensors").read_bytes() for k in "01"]
    assert sets[0] != sets[1]

    # The same again has nothing to do, and trains nothing; anything else is refused.
    monkeypatch.setenv("CONDENSERY_CACHE", str(tmp_path / "empty"))
    seeds = counting(monkeypatch)
    assert main([*line, "--quiet", "--json", "again.json"]) == 0
    assert capsys.readouterr() == ("", "")
    assert json.loads(Path("again.json").read_text())["runs"] == made
    assert main([*line, "--ipc", "1", "--out", str(place)]) == 2
    assert "holds something else (ipc there: 2, here: 1)" in capsys.readouterr().err
    if method != "random":
        assert main([*line, "--rate", "0.01"]) == 2
        assert "(training.rate there: 0.05, here: 0.01)" in capsys.readouterr().err
    assert main(["select", method, "--out", str(place / "0"), "--sets", "2", *quick]) == 2
    assert "holds one set" in capsys.readouterr().err
    assert seeds == []


def test_a_stopped_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["select", "herding", "--ipc", "1", "--sets", "2", *QUICK]
    plain, parts = Progress.advance, itertools.count()
    before = signal.getsignal(signal.SIGINT)

    def stopped(self: Progress, note: str = "") -> None:
        if next(parts) == 30:  # in the second set's training
            signal.raise_signal(signal.SIGINT)
        plain(self, note)

    monkeypatch.setattr(Progress, "advance", stopped)
    assert main([*line, "--out", "r"]) == 130
    assert "stopped by SIGINT; the same command continues" in capsys.readouterr().err
    assert [p.name for p in Path("r").iterdir()] == ["0"]
    assert signal.getsignal(signal.SIGINT) is before
    # What was cut off while it was written is written again.
    (Path("r") / "0" / "condensed.safetensors").unlink()
    (Path("r") / "1" / ".recipe-writing-abc").mkdir(parents=True)
    assert main([*line, "--out", "r"]) == 0
    assert not list(Path("r/1").glob(".*"))
    assert main([*line, "--out", "whole"]) == 0
    for k in "01":
        both = [Path(x) / k / "condensed.safetensors" for x in ("r", "whole")]
        assert both[0].read_bytes() == both[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["herdng"], 2, "did you mean 'herding'"),
        (["kcenter"], 2, "did you mean 'k-center'"),
        (["random", "--epochs", "2"], 2, "leave out --epochs"),
        (["herding", "--ipc", "500"], 1, "use --ipc"),
        (["herding", "--ipc", "0"], 2, "ipc must be at least 1"),
        (["herding", "--seed", "-1"], 2, "seed must lie in"),
        (["herding", "--net", "convnt3"], 2, "did you mean 'convnet3'"),
        (["herding", "--rate", "-1"], 2, "rate must be positive"),
        (["herding", "--batch", "0"], 2, "--batch must be at least 1"),
        (["herding", "--threads", "0"], 2, "--threads"),
        (["herding", "--plan", "fast"], 2, "--plan must be auto"),
        (["herding", "--rate", "1e30", *QUICK], 1, "lower --rate"),
        (["herding", "--out", "taken"], 2, "holds something else"),
        (["herding", "--out", "taken/file"], 2, "holds something else"),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").mkdir()
    Path("taken/file").write_text("")
    assert main(["select", *arguments, "--quiet"]) == code
    err = capsys.readouterr().err
    assert message in err
    assert (err.startswith("condensery: "), err.count("\n")) == (True, 1)
    assert [p.name for p in tmp_path.rglob("*")] == ["taken", "file"]


def test_a_misspelt_name_is_answered_as_the_documents_write_it() -> None:
    for wrong in ("kcenter", "k-centre", "k_centre"):
        with pytest.raises(UsageError, match="did you mean 'k-center'"):
            select("digits", wrong)


def test_two_commands_do_not_share_a_folder(
    tmp_path: Path, tiny_data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["select", "random", "--ipc", "1", "--out", str(tmp_path / "s")]
    with in_use(tmp_path / "s", "."):
        writing = tmp_path / "s" / ".condensed-writing-abc"
        writing.mkdir()
        (writing / "condensed.safetensors").touch()
        assert main(line) == 2
        assert "is in use by process" in capsys.readouterr().err
        assert (writing / "condensed.safetensors").exists()
    assert main([*line, "--quiet"]) == 0
    names = {"condensed.safetensors", "images.png", "recipe.yaml", "run.json"}
    assert {path.name for path in (tmp_path / "s").iterdir()} == names
    # What another process has finished meanwhile is not made again, or mixed with another draw.
    work = Selections(tiny_data, "random", ipc=1)
    first = work.make(tmp_path / "t", 0)
    assert torch.equal(work.make(tmp_path / "t", 0).stored, first.stored)
    with pytest.raises(UsageError, match="holds something else"):
        work.make(tmp_path / "t", 1)
