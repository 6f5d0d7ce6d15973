"""``condensery reproduce``: published rows run again, and which were."""

from __future__ import annotations

import shlex
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensery.config.data_sets import lies_here
from condensery.errors import UsageError
from condensery.reproduction import Experiment, Unmapped, experiment_of
from condensery.reproduction.picture import Pair, draw_pairs
from condensery.reproduction.published import Published, pick, table
from condensery.reproduction.records import Record, read_records
from condensery.reproduction.status import page, status_of, status_table, statuses, tried_table
from condensery.reproduction.verdict import Amount
from condensery.runtime.malloc import keep_memory
from condensery.runtime.provenance import checkout
from condensery.utils.files import check_writable
from condensery.utils.output import put_error
from condensery.utils.plotting import check_drawing
from condensery.utils.screen import columns as screen_columns
from condensery.utils.screen import fitting_table, wrapped
from condensery.utils.text import plural, time_text
from condensery.utils.text import table as columns

from .telling import conclude, folder_of, printer

if TYPE_CHECKING:
    from condensery.reproduction.settings import ReproductionSettings
    from condensery.runtime.distributed import Ranks


def reproduce(options: Any) -> int:
    """Run rows, list them, or tell what was reproduced."""
    check_drawing(options.plot, "--plot")
    if options.plot and options.list and not options.status:
        raise UsageError("--plot draws numbers, and --list has none of ours; leave one of them out")
    if options.status:
        return _status(options)
    if options.markdown or options.results:
        flag = "--markdown" if options.markdown else "--results"
        raise UsageError(f"{flag} requires --status; add it, or leave this flag out")
    if options.list:
        return _list(options)
    if not options.table:
        raise UsageError(
            "name a table, such as dc/table1; condensery reproduce --list shows all of them"
        )
    return _run(options)


def _amount(options: Any) -> Amount:
    if not 0 < options.scale <= 1:
        raise UsageError(f"--scale must be above 0 and at most 1, got {options.scale:g}")
    for name in ("sets", "nets", "epochs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")
    if options.seed < 0:
        raise UsageError(f"--seed must be at least 0, got {options.seed}")
    if options.data is None and (options.layout, options.range) != (None, None):
        raise UsageError("--layout and --range tell how --data is read; name it, or leave them out")
    return Amount(
        scale=options.scale,
        sets=options.sets,
        nets=options.nets,
        epochs=options.epochs,
        data=options.data,
        layout=options.layout,
        value_range=options.range,
        seed=options.seed,
    )


def _list(options: Any) -> int:
    """The tables, or a table's rows with what would be run."""
    if not options.table:
        found = statuses((), lies_here)
        told = [
            *status_table(found).splitlines(),
            "next: condensery reproduce TABLE --list shows the rows of a table",
        ]
        names = {place: [c.row.name for c in held] for place, held in found.items()}
        conclude(options, names, told)
        return 0
    rows = pick(options.table, options.row) if options.row else table(options.table)
    held = [status_of(row, lies_here) for row in rows]
    lines = [[c.row.name, c.row.value, _what(c.row, c.status, c.reason)] for c in held]
    head = ["row", "published", "what would be run"]
    shown = columns(head, lines)
    limit = screen_columns()
    if limit is not None and max(map(len, shown.splitlines())) > limit:
        blocks = [[f"{name}: {value}", *_indented(what, limit)] for name, value, what in lines]
        shown = "\n".join(line for block in blocks for line in block)
    listed = [{**c.row.as_dict(), "status": c.status, "reason": c.reason} for c in held]
    conclude(options, {"table": options.table, "rows": listed}, shown.splitlines())
    return 0


def _indented(text: str, limit: int) -> list[str]:
    return [f"  {line}" for line in wrapped([text], limit - 2)]


def _what(row: Published, status: str, reason: str) -> str:
    if status == "untried":
        return reason
    found = experiment_of(row)
    more = "" if isinstance(found, Unmapped) else f": {found.describe()}"
    return f"[{status}: {reason}]{more}"


def _results_folder(options: Any) -> Path | None:
    """Where records are: as named, or those of the checkout that this package runs from."""
    if options.results:
        folder = Path(options.results)
        if not folder.is_dir():
            raise UsageError(
                f"--results {folder} is not a folder; pass one with results of reproduce"
            )
        return folder
    home = checkout()
    if home is None:
        return None
    own = home / "benchmarks" / "results" / "reproduce"
    return own if own.is_dir() else None


def _status(options: Any) -> int:
    if options.row or options.list:
        raise UsageError("--status covers whole tables; leave out --row and --list")
    if options.table:
        table(options.table)  # there has to be one
    if options.markdown:
        check_writable(Path(options.markdown), "--markdown")
    folder = _results_folder(options)
    records: list[Record] = read_records(folder) if folder else []
    found = statuses(records, lies_here)
    if options.table:
        found = {options.table: found[options.table]}
    lines = status_table(found).splitlines()
    if folder is None:
        lines.append(
            "no results: an installed package has none; pass a folder of results with --results, "
            "such as runs/reproduce/results"
        )
    else:
        lines.append(f"{plural(len(records), 'result')} in {folder}")
    tried = tried_table(found)
    lines += ["", *tried.splitlines()] if tried else []
    lines += [f"page: {options.markdown}"] if options.markdown else []
    shown = [record for held in found.values() for one in held for record in one.records]
    lines += _drawn([(r.row, r.mean, r.std) for r in shown], options)
    rows = [
        {"address": c.row.address, "status": c.status, "reason": c.reason}
        for held in found.values()
        for c in held
    ]
    conclude(options, {"rows": rows}, lines, [(options.markdown, lambda: page(records))])
    return 0


def _wanted(options: Any, say: Any) -> list[tuple[Published, Experiment]]:
    """The rows to run; those that are named have to be runnable."""
    named = bool(options.row)
    rows = pick(options.table, options.row) if named else list(table(options.table))
    out, skipped = [], list[str]()
    for row in rows:
        found = experiment_of(row)
        if isinstance(found, Unmapped):
            if row.name in (options.row or ()):
                raise UsageError(f"{row.address} cannot be run: {found.status}, {found.reason}")
            skipped.append(f"{row.name} ({found.status}: {found.reason})")
        elif not named and options.data is None and not all(map(lies_here, found.needs)):
            lacking = next(name for name in found.needs if not lies_here(name))
            skipped.append(f"{row.name} (data is unavailable here: {lacking})")
        else:
            out.append((row, found))
    if skipped:
        shown = ", ".join(skipped[:4]) + (", …" if len(skipped) > 4 else "")
        say(f"left out: {len(skipped)} of {len(rows)} rows: {shown}")
    if not out:
        raise UsageError(
            f"no rows of {options.table} can be run; --list gives the reasons, and --row downloads "
            "the data of the rows it names"
        )
    return out


def _run(options: Any) -> int:
    from condensery.runtime.distributed import joined

    with joined() as ranks:
        return _run_rows(options, ranks)


def _run_rows(options: Any, ranks: Ranks) -> int:
    from condensery.reproduction.settings import ReproductionSettings
    from condensery.runtime.distributed import check_device
    from condensery.utils.signals import Interrupted, interruptible

    keep_memory()
    check_device(options.device, ranks)
    amount = _amount(options)
    say = printer(options, ranks.first)
    out = folder_of(options.out, Path("runs") / "reproduce")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; choose a folder")
    wanted = _wanted(options, say)
    how = ReproductionSettings(
        out=out,
        plan=options.plan,
        device=options.device,
        threads=options.threads,
        quiet=options.quiet or not ranks.first,
        say=say,
        ranks=ranks,
    )
    _estimate(wanted, amount, how)
    results: list[tuple[Published, dict[str, Any]]] = []
    with interruptible() as stops:
        try:
            _work_through(wanted, amount, how, results)
        except (KeyboardInterrupt, Interrupted) as stop:
            number = stop.number if isinstance(stop, Interrupted) else (stops or [signal.SIGINT])[0]
            if ranks.first:
                put_error(f"condensery: stopped; the same command continues {out}")
            return 128 + number
    lines = [
        "",
        *_summary(results).splitlines(),
        f"next: condensery reproduce --status --results {shlex.quote(str(out / 'results'))}",
    ]
    if ranks.first:
        lines += _drawn([(row, made["mean"], made["std"]) for row, made in results], options)
    made_all = {"results": [made for _, made in results]}
    conclude(options, made_all, lines, speaks=ranks.first)
    return 0


def _work_through(
    wanted: list[tuple[Published, Experiment]],
    amount: Amount,
    how: ReproductionSettings,
    results: list[tuple[Published, dict[str, Any]]],
) -> None:
    """Run rows, and say what each came to; what is done goes into ``results``."""
    from condensery.reproduction.run import run_row
    from condensery.reproduction.sets import load_for

    for row, experiment in wanted:
        _announce(row, experiment, amount, how.say)
        data = how.ranks.local_rank_first(partial(load_for, experiment, amount))
        for note in data.notes:
            how.say(f"note: {note}")
        made, file = run_row(row, experiment, amount, data, how)
        results.append((row, made))
        how.say(_told(made))
        how.say(f"result: {file}")


def _drawn(pairs: list[Pair], options: Any) -> list[str]:
    """Draw our numbers beside the published ones, if asked to; a line about it."""
    if not options.plot:
        return []
    if not pairs:
        return ["drawing: none, since no row was run"]
    draw_pairs(pairs, Path(options.plot))
    return [f"drawing: {options.plot}"]


def _announce(row: Published, experiment: Experiment, amount: Amount, say: Any) -> None:
    say("")
    say(f"{row.address}: published {row.value}")
    say(f"the paper's: {experiment.describe()}")
    departures = amount.departures(experiment)
    if departures:
        say(f"here: {', '.join(departures)}")
    for words in experiment.assumptions:
        say(f"assumed: {words}")
    if row.note:
        say(f"note: {row.note}")


def _ours(made: dict[str, Any]) -> str:
    spread = f" ± {made['std']:.1f}" if made["n"] > 1 else ""
    return f"{made['mean']:.1f}{spread} %"


def _told(made: dict[str, Any]) -> str:
    side = "above" if made["difference"] > 0 else "below"
    return (
        f"ours: {_ours(made)} (n={made['n']}, protocol {made['protocol']}), "
        f"{abs(made['difference']):.1f} {side} the published mean: {made['verdict_text']}"
    )


def _summary(results: list[tuple[Published, dict[str, Any]]]) -> str:
    lines = [
        [row.name, row.value, _ours(made), str(made["n"]), made["protocol"], made["verdict_text"]]
        for row, made in results
    ]
    head = ["row", "published", "ours", "n", "protocol", "verdict"]
    return f"{_fitting(head, lines)}\nlast epoch, n = sets × networks, mean ± std (ddof 0)"


def _fitting(head: list[str], lines: list[list[str]]) -> str:
    """A table whose protocols and verdicts go below it where they are too long."""
    cells = {name: [line[place] for line in lines] for place, name in enumerate(head)}
    return fitting_table(cells, keyed=["verdict", "protocol"])


def _estimate(
    wanted: list[tuple[Published, Experiment]], amount: Amount, how: ReproductionSettings
) -> None:
    """Say how long it may take."""
    from condensery.reproduction.applied import job_of
    from condensery.reproduction.estimate import estimate
    from condensery.reproduction.sets import load_for

    condensing: dict[Path, float] = {}
    tests: dict[Any, float] = {}
    made, count = 0.0, 0
    for row, experiment in wanted:
        data = how.ranks.local_rank_first(partial(load_for, experiment, amount))
        if experiment.use is not None:
            job = job_of(experiment, amount, data, how)
            once, tests[row.name] = job.seconds()
            made, count = made + once, count + (job.sets if once else 0)
            continue
        found = estimate(experiment, amount, data, how.out, device=how.device, threads=how.threads)
        condensing |= found.condensing
        # Rows of several tables may share a test, as well as their sets.
        tests[experiment.data, experiment.ipc, experiment.describe()] = found.testing
    sets, networks = made + sum(condensing.values()), sum(tests.values())
    count += len(condensing)
    parts = [f"{time_text(networks)} for networks"]
    if count:
        parts.insert(0, f"{time_text(sets)} for {plural(count, 'set')} to condense")
    # Bounds, and the networks that a proxy is compared with, are kept and trained once.
    several = sum(experiment.use is not None for _, experiment in wanted) > 1
    shared = "; what rows of applications share is counted for each of them" if several else ""
    how.say(
        f"{plural(len(wanted), 'row')}, about {time_text(sets + networks)} estimated from plain "
        f"passes on this machine: {', '.join(parts)}{shared}"
    )
