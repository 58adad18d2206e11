"""Stages of contenders, each in a folder of its own that is a small project: what equals another contender's is the same folder.

data/tournament/nodes/<stage>-<key>/
    params.yaml                 of the contender that needed it first
    dvc.yaml, stages/, models/  links to the project's
    data/<noun>/                what the stage reads: links to the folders of the nodes before it
    data/<noun of the stage>/   what it makes, with data/reports/<stage>.json
The key follows from the stage's sections, its code, the photographs and the keys of the nodes before it. A node whose DONE is there
is never run again. One that was killed goes on where it was, as every stage does; rows and networks that the project, or another
node, has made under the same key are found in data/store.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from flows.tournaments.contenders import Entrant
from flows.tournaments.selection import Selection, maps_now
from labelfactory.dataset.manifest import MANIFEST
from labelfactory.digests import digest_file, digest_json
from labelfactory.errors import UserError
from labelfactory.files import make_folder, write_json, write_whole
from labelfactory.json_files import read_json
from labelfactory.settings.closure import Chosen, code_digest, joined
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.reports import read_report
from labelfactory.settings.thresholds import EVIDENCE
from labelfactory.settings.wiring import DATA, METRICS, REPORTS, WIRING_FILE, StageWiring, Wiring, read_wiring
from labelfactory.stage.given import digest_code, file_digests
from labelfactory.tournament import AGAIN, TOURNAMENT

NODES = TOURNAMENT / "nodes"
DONE = Path("done.json")
"""Written when the stage has run to its end."""


@dataclass(frozen=True)
class Done:
    """What is noted of a stage that has run to its end.

    Attributes:
        stage, key: of the node.
        pace: units and seconds of its run.
        seconds, memory_mb: what it costs, where that is known.
        places: `Node.places` then.
        figures: `Node.figures` then; empty for one of an earlier version.
    """

    stage: str
    key: str
    pace: dict[str, float] | None
    seconds: float | None
    memory_mb: int | None
    places: str = ""
    figures: str = ""


@dataclass(frozen=True)
class Node:
    """One stage with its settings and inputs.

    Attributes:
        stage: its name.
        key: of all that its output follows from.
        values: all of params.yaml.
        above: nodes whose outputs it reads.
        selection: the photographs.
        code: digest of the code that it runs, as it was when the tournament was planned.
        methods: plug-in family → methods that its contender's sections name.
        given: folder that people fill, of those that it reads → digest of its files, then.
    """

    stage: str
    key: str
    values: Mapping[str, Any]
    above: tuple["Node", ...]
    selection: Selection
    code: str
    methods: Chosen
    given: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where it runs."""
        return NODES / f"{self.stage}-{self.key[:16]}"

    @property
    def is_done(self) -> bool:
        """Whether it has run to its end, with the photographs where they are now, and its figures are those that it wrote."""
        if not (self.folder / DONE).exists():
            return False
        try:
            noted = self.done()
        except UserError:  # damaged: it runs again
            return False
        return (not self.places or noted.places == self.places) and noted.figures in ("", self.figures)

    @property
    def places(self) -> str:
        """Digest of the paths of the photographs, for a stage that reads the import and notes them; else empty."""
        return self.selection.places if self._reads_import else ""

    @property
    def _reads_import(self) -> bool:
        return MANIFEST.parent.name in read_wiring()[self.stage].inputs

    @property
    def figures(self) -> str:
        """Digest of the files from which a result takes figures; they are small."""
        report, evidence = REPORTS / f"{self.stage}.json", DATA / read_wiring()[self.stage].noun / EVIDENCE
        files = (self.folder / path for path in (report, evidence, METRICS))
        return digest_json({path.name: digest_file(path) for path in files if path.is_file()})

    @property
    def chain(self) -> tuple["Node", ...]:
        """The nodes that have to run for it, in order, itself last."""
        every = dict.fromkeys(node for before in self.above for node in before.chain)
        return (*every, self)

    def __hash__(self) -> int:
        return hash((self.stage, self.key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and (self.stage, self.key) == (other.stage, other.key)

    def prepare(self) -> None:
        """Make the folder, with links to what the stage reads."""
        wiring = read_wiring()
        project, own = Path.cwd(), wiring[self.stage]
        make_folder(self.folder / REPORTS)
        with write_whole(self.folder / PARAMS_FILE) as path:
            plain = json.loads(json.dumps(self.values, default=str))
            path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
        links = {Path(WIRING_FILE): project / WIRING_FILE}
        links |= {Path(path.parts[0]): project / path.parts[0] for stage in wiring.values() for path in stage.code}
        links |= {DATA / wiring[n.stage].noun: project / n.folder / DATA / wiring[n.stage].noun for n in self.above}
        links |= {DATA / name: project / DATA / name for name in given(own, wiring)}
        links[MANIFEST.parent] = project / self.selection.folder
        for link, target in links.items():
            path = self.folder / link
            if path.is_symlink() and path.readlink() != target:  # the project was moved or copied
                path.unlink()
            if not path.is_symlink():
                path.symlink_to(target, target_is_directory=target.is_dir())

    def check_plan(self) -> str:
        """Check that code and inputs on disk are those of the plan; gives a digest of all code that the stage may load.

        Raises:
            UserError: one of them has changed.
        """
        loaded = digest_code(self.stage)
        if code_digest(f"stages.{self.stage}", self.methods) != self.code:
            raise self._changed("its code")
        now = given_digests(self.given)
        for noun in sorted(self.given):
            if now[noun] != self.given[noun]:
                raise self._changed(f"{DATA / noun}")
        if self._reads_import and maps_now() != self.selection.maps:
            raise self._changed(f"what lies beside {MANIFEST}")
        return loaded

    def check_used(self, *known: str) -> None:
        """Check that the stage began with one of these `check_plan`: the code may have been another only when it began.

        Raises:
            UserError: it began with other code.
        """
        if self._report().get("given_code", [known[0]])[0] not in known:
            raise self._changed("its code")

    def _changed(self, what: str) -> UserError:
        return UserError(
            f"{self.stage}: {what} changed while the tournament ran",
            "Type the same command again: what follows from what did not change is kept.",
        )

    def _report(self) -> dict[str, Any]:
        report: dict[str, Any] = read_json(self.folder / REPORTS / f"{self.stage}.json", dict[str, Any], AGAIN)
        return report

    def finish(self, resumed: bool) -> None:
        """Note that it has run to its end, and what it cost."""
        try:  # it ran to its end when the photographs lay elsewhere, and cost then what it costs
            write_json(self.folder / DONE, asdict(replace(self.done(), places=self.places, figures=self.figures)))
            return
        except UserError:
            report = self._report()
        found = report.get("found") or report.get("rows_found", 0) or report.get("trained") is False
        if found or resumed:
            cost = self._cost_in_line(report)
        else:
            cost = {"seconds": report["seconds"], "memory_mb": report["peak_memory_mb"]}
        noted = Done(self.stage, self.key, report.get("pace"), places=self.places, figures=self.figures, **cost)
        write_json(self.folder / DONE, asdict(noted))

    def _cost_in_line(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """What it would have cost by the pace of the project's own run with the same settings; None where there was none."""
        try:
            line = read_report(self.stage)
        except UserError:
            line = {}
        pace = line.get("pace")
        if not pace or line.get("settings") != report.get("settings"):
            return {"seconds": None, "memory_mb": None}
        rows = sum(report.get(name, 0) for name in ("rows_computed", "rows_found", "rows_copied"))
        units = rows or report.get("training_rows", 0) or pace["units"]
        return {"seconds": pace["seconds"] * units / pace["units"], "memory_mb": line["peak_memory_mb"]}

    def done(self) -> Done:
        """What `finish` has noted. Raises DataError where that is damaged."""
        noted: Done = read_json(self.folder / DONE, Done, f"Delete {self.folder}. {AGAIN}")
        return noted


def given(stage: StageWiring, wiring: Wiring) -> list[str]:
    """Folders below data/ that a stage reads and no stage writes, beside the import."""
    return [n for n in stage.inputs if wiring.maker(n) is None and n != MANIFEST.parent.name]


def stages_of(until: str) -> tuple[str, ...]:
    """The stages that bring a score about, in order, the one that scores last.

    Args:
        until: what is scored, as metrics call it: seeds, masks, model.
    """
    wiring = read_wiring()
    last = next(stage for stage in wiring.scored if stage.meta.scores.name == until)
    scoring = wiring.maker(METRICS.parent.name)
    names = {*wiring.scored_with(last.name)}
    if last.meta.kind == "network" and (rating := wiring.rating(wiring.masks.noun)):
        names |= {rating.name}
    return (*(name for name in wiring if name in names), *([scoring.name] if scoring else []))


@dataclass
class Inputs:
    """What all runs of a tournament have in common beside photographs, as it was when that was planned.

    Attributes:
        given: folder that people fill → digest of its files, such as corrections.
    """

    given: Mapping[str, str]
    _codes: dict[str, str] = field(default_factory=dict)

    def code(self, stage: str, chosen: Chosen) -> str:
        """Digest of the code of a stage, looked at once for each choice of methods."""
        name = f"{stage} {sorted((family, sorted(methods)) for family, methods in chosen.items())}"
        if name not in self._codes:
            self._codes[name] = code_digest(f"stages.{stage}", chosen)
        return self._codes[name]


def nodes_of(entrant: Entrant, selection: Selection, stages: Iterable[str], inputs: Inputs) -> Node:
    """The last node of a contender, behind which stand all others.

    Args:
        entrant: the contender with one seed.
        selection: the photographs.
        stages: `stages_of`.
        inputs: what all have in common.
    """
    wiring, made = read_wiring(), dict[str, Node]()
    chosen = joined(section.methods() for section in entrant.sections.values())
    for name in stages:
        stage = wiring[name]
        above = tuple(made[before] for before in wiring.before(name) if before in made)
        code = inputs.code(name, chosen)
        own = {noun: inputs.given[noun] for noun in given(stage, wiring)}
        key = digest_json(
            {
                "stage": name,
                "sections": {section: entrant.sections[section].digest() for section in stage.params},
                "code": code,
                "photographs": selection.digest if MANIFEST.parent.name in stage.inputs else "",
                "given": own,
                "above": [node.key for node in above],
            }
        )
        made[name] = Node(name, key, entrant.values, above, selection, code, chosen, own)
    return made[name]


def inputs_now(stages: Iterable[str]) -> Inputs:
    """What these stages are given now, beside the import."""
    wiring = read_wiring()
    nouns = {noun for name in stages for noun in given(wiring[name], wiring)}
    return Inputs(given_digests(nouns))


def given_digests(nouns: Iterable[str]) -> dict[str, str]:
    """Folder below data/ → digest of its files now."""
    return {noun: digest_json(file_digests(noun)) for noun in nouns}
