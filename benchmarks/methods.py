"""`python -m benchmarks.methods` writes docs/methods.md from docs/methods.csv: what each published system is worth here.

    python -m benchmarks.methods                                                    # the page anew
    python -m benchmarks.methods add data/tournament/results.json --data NAME       # rows of a finished tournament, then the page

The table has one row for each system and measurement, sorted by family, then system. A row without figures says why. Figures
enter it by `add` alone, so that none is typed by hand; scores and gains are in points.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.method_rows import FAMILIES, NOT_MEASURED, TABLE, MethodRow, folder_of, read_table, table_text
from labelfactory.errors import UserError, first_line
from labelfactory.files import write_whole
from labelfactory.settings.registry import Family
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class
from labelfactory.tournament import BASELINE, Contender, Results, ShownGain, read_results
from reporting.formats import finite
from reporting.tournament_table import plain
from reporting.tournament_words import state_of

PAGE = TABLE.with_suffix(".md")
HOMES = {
    "objectives": "objectives",
    "cams": "cams",
    "affinity_labels": "affinity",
    "affinity": "affinity",
    "propagation": "affinity",
    "refinement": "refinement",
    "segmenters": "nets",
    "mask_objectives": "nets",
    "backbones": "nets",
    "blocks": "nets",
    "priors": "priors",
}
"""Folder under models/ → family of a method that the table does not know yet; of several, the first here names the system."""

HEAD = """\
# Methods

What each published system is worth on our data, held against our own line on the same photographs with the same seeds. This page is
made of [methods.csv](methods.csv) by `make docs`; `python -m benchmarks.methods add` brings the figures of a tournament.

Gains are in points of mIoU with intervals of 95 % (paired bootstrap over photographs), bold where the interval is above 0, and the
mIoU itself beside them; *at best* is the gain with the threshold that is best on the true masks, for both. *Time* is that of all
stages behind it, as a multiple of the line's. A dash: not measured. Published figures are of other nets and data, and are not
repeated here. *Probe*: a small line that takes minutes, with `pcm` as its read-out ([experiments.md](experiments.md)). How to add a
method: [adding-a-method.md](adding-a-method.md).
"""


def rows_of(results: Results, known: Sequence[MethodRow], *, data: str) -> list[MethodRow]:
    """The rows that a tournament gives: of each contender but the baseline that was scored or failed.

    Args:
        results: of a tournament with true masks.
        known: the table, from which names, papers and deviations of known plug-ins are taken.
        data: name of the data set.

    Raises:
        UserError: the tournament has no commit, or no true masks.
    """
    if not results.with_truth:
        raise UserError(
            "the tournament had no true masks, so that it has no figures", "Run it on photographs with true masks."
        )
    if not results.commit:
        raise UserError(
            "the tournament names no commit, and no figure stands without one", "Run it in a git repository."
        )
    others = [c for c in results.contenders if c.name != BASELINE and (c.runs or c.state == "failed")]
    return [_row_of(contender, results, known, data) for contender in others]


def with_rows(table: Sequence[MethodRow], rows: Sequence[MethodRow]) -> list[MethodRow]:
    """The table with rows of a tournament: they replace those of the same measurement, and the plug-ins' rows without one."""
    fresh = {row.order for row in rows}
    measured = {plug_in for row in rows if row.is_measured for plug_in in row.plug_ins[:1]}
    kept = [row for row in table if row.order not in fresh]
    return [*(row for row in kept if not row.waits or not measured & set(row.plug_ins[:1])), *rows]


def chosen_plug_ins(overlay: Mapping[str, Any]) -> list[str]:
    """The methods that the parameters of a contender choose, such as `objectives/seam`; in the order of `HOMES`."""
    found, sections = [], read_wiring()
    for name, value in overlay.items():
        section, _, key = name.partition(".")
        method = value.get("name") if isinstance(value, Mapping) else value
        field = (
            stage_class(section).section.model_fields.get(key.removesuffix(".name")) if section in sections else None
        )
        families = [mark for mark in field.metadata if isinstance(mark, Family)] if field else []
        found += [f"{folder_of(family)}/{method}" for family in families if family.knows(method)]
    return sorted(dict.fromkeys(found), key=lambda each: list(HOMES).index(each.partition("/")[0]))


def _row_of(contender: Contender, results: Results, known: Sequence[MethodRow], data: str) -> MethodRow:
    chosen = chosen_plug_ins(contender.overlay)
    alike = [row for row in known if row.plug_ins and [*row.plug_ins] == chosen]
    alike += [row for row in known if row.plug_ins[:1] == tuple(chosen[:1]) and chosen]
    named = alike[0] if alike else None
    gain, best = contender.gain or ShownGain(value=None), contender.gain_at_best or ShownGain(value=None)
    remarks = [f"{contender.state}: {contender.problem}" if contender.problem else state_of(contender, results)]
    if not chosen or len(contender.overlay) > len(chosen):
        remarks.append("; ".join(f"{name} {plain(value)}" for name, value in contender.overlay.items()))
    if results.dirty:
        remarks.append("with changes that are in no commit")
    if named and named.waits:
        remarks.append(named.remark.removeprefix(NOT_MEASURED).removeprefix("; "))
    scored = [each for each in results.rounds if contender.name in each.entered]
    has_figures, cost = finite(contender.score) is not None, finite(contender.cost)
    return MethodRow(
        system=named.system if named else contender.name,
        family=named.family if named else HOMES[chosen[0].partition("/")[0]] if chosen else "nets",
        plug_in="; ".join(chosen),
        paper=named.paper if named else "",
        data=data,
        list=results.split,
        images=scored[-1].images if scored and contender.state != "finished" else results.images,
        seeds=" ".join(str(run.seed) for run in contender.runs) or " ".join(map(str, results.seeds)),
        until=results.until,
        score=_points(contender.score),
        gain=_points(gain.value),
        low=_points(gain.low),
        high=_points(gain.high),
        gain_at_best=_points(best.value),
        seconds_ratio=max(0.01, round(cost, 2)) if has_figures and cost else None,
        supervision="; ".join(contender.supervision),
        commit=results.commit[:12],
        deviations=named.deviations if named else "",
        remark="; ".join(remark for remark in remarks if remark),
    )


def _points(fraction: float | None) -> float | None:
    value = finite(fraction)
    return None if value is None else round(100 * value, 1) + 0.0  # −0.0 is 0.0


# --- the page ---------------------------------------------------------------------------------------------------------


def page(rows: Sequence[MethodRow]) -> str:
    """docs/methods.md."""
    built = {row.system for row in rows if row.plug_in}
    measured = {row.system for row in rows if row.is_measured}
    systems = {row.system for row in rows}
    counts = f"{len(systems)} systems, {len(built)} of them with a plug-in, {len(measured)} measured in a tournament."
    parts = [HEAD, counts]
    for family, title in FAMILIES.items():
        shown = [row for row in sorted(rows, key=lambda row: row.order) if row.family == family]
        if shown:
            parts.append("\n".join([f"\n## {title}", *TABLE_HEAD, *(_line(row) for row in shown)]))
    return "\n".join(parts) + "\n"


TABLE_HEAD = (
    "| system | plug-in | gain | at best | time | measured on | deviations | remark |",
    "|---|---|---|---|---|---|---|---|",
)


def _line(row: MethodRow) -> str:
    gain = "–" if row.gain is None else _signed(row.gain)
    if row.low is not None and row.high is not None:
        gain += f" [{_signed(row.low)}, {_signed(row.high)}]"
    if row.low is not None and row.low > 0:
        gain = f"**{gain}**"
    photographs = f"{row.data}, `{row.list}`, {row.images} photographs, seeds {row.seeds}, to the {row.until}"
    on = "; ".join(each for each in (photographs, row.supervision, row.commit[:7]) if each)
    cells = [
        f"{row.system} ({_paper(row.paper)})" if row.paper else row.system,
        ", ".join(f"`{each}`" for each in row.plug_ins) or "–",
        gain if row.score is None else f"{gain}, to {row.score:.1f}",
        "–" if row.gain_at_best is None else _signed(row.gain_at_best),
        "–" if row.seconds_ratio is None else f"{row.seconds_ratio:g} ×",
        on if row.is_measured else "–",
        row.deviations or "–",
        row.remark or "–",
    ]
    return "".join(f"| {_in_a_cell(cell)} " for cell in cells) + "|"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _paper(paper: str) -> str:
    if not paper.startswith("arXiv:"):
        return paper
    return f"[{paper}](https://arxiv.org/abs/{paper.removeprefix('arXiv:')})"


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def write(rows: Sequence[MethodRow], table: Path = TABLE, page_file: Path = PAGE) -> None:
    """Write table and page, each whole or not at all."""
    for path, text in ((table, table_text(rows)), (page_file, page(rows))):
        with write_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    """Write the page; after `add`, with the rows of a tournament."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command")
    add = commands.add_parser("add", help="add the rows of a finished tournament")
    add.add_argument("results", type=Path)
    add.add_argument("--data", required=True, help="name of the data set")
    args = parser.parse_args(words)
    try:
        rows = read_table(TABLE)
        if args.command == "add":
            fresh = rows_of(read_results(args.results), rows, data=args.data)
            rows = with_rows(rows, fresh)
            print(f"{len(fresh)} rows of {args.results}")
        write(rows, TABLE, PAGE)
    except (UserError, OSError) as error:
        parser.exit(2, f"error: {error if isinstance(error, UserError) else first_line(error)}\n")
    print(f"{PAGE}: {len(rows)} rows")


if __name__ == "__main__":
    main()
