"""The graph of the line, read from dvc.yaml: stages in order, what each reads and makes, and what its `meta` says of it.

Everything that depends on the graph asks here: which outputs hold rows, networks or thresholds, which stage made an output,
what lies upstream, which stages are optional, learn, or are scored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from labelfactory.errors import ParamsError, cut, did_you_mean
from labelfactory.settings.closure import Chosen, code_digest
from labelfactory.settings.params import check_sections, read_yaml
from labelfactory.settings.stage_meta import Kind, Meta

WIRING_FILE = Path("dvc.yaml")
LOCK_FILE = Path("dvc.lock")
DATA = Path("data")
"""What stages write, each in a folder of its own."""
REPORTS = DATA / "reports"
METRICS = DATA / "evaluation" / "metrics.json"


@dataclass(frozen=True)
class StageWiring:
    """One stage of dvc.yaml."""

    name: str
    command: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    metrics: tuple[str, ...]
    meta: Meta = field(default_factory=Meta)

    @property
    def noun(self) -> str:
        """The folder below data/ that the stage writes beside its report; empty for a stage that writes none."""
        written = (Path(out) for out in (*self.outs, *self.metrics))
        return next((out.parts[1] for out in written if out.parts[0] == DATA.name and out.parent != REPORTS), "")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The folders below data/ that the stage reads."""
        return tuple(Path(d).parts[1] for d in self.deps if d.startswith("data/"))

    @property
    def word(self) -> str:
        """How people call its output."""
        return self.meta.word or self.noun.replace("_", " ")

    @property
    def code(self) -> tuple[Path, ...]:
        """The dependencies that are code: files and folders outside data/."""
        return tuple(Path(d) for d in self.deps if not d.startswith("data/"))

    def code_digest(self, chosen: Chosen | None = None) -> str:
        """Digest of the code that decides what this stage makes; arguments and errors as for `closure.code_digest`."""
        return code_digest(f"stages.{self.name}", chosen)


class Wiring(Mapping[str, StageWiring]):
    """All stages by name, in dvc.yaml's order, which is the order of the line."""

    def __init__(self, stages: Mapping[str, StageWiring]) -> None:
        self._stages = dict(stages)

    def __getitem__(self, name: str) -> StageWiring:
        return self._stages[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def of_kind(self, *kinds: Kind) -> tuple[StageWiring, ...]:
        """The stages of some kinds, in order."""
        return tuple(stage for stage in self.values() if stage.meta.kind in kinds)

    @cached_property
    def networks(self) -> tuple[str, ...]:
        """Nouns of the outputs that hold a checkpoint."""
        return tuple(stage.noun for stage in self.of_kind("network"))

    @cached_property
    def row_outputs(self) -> tuple[str, ...]:
        """Nouns of the outputs that hold one row per image."""
        return tuple(stage.noun for stage in self.of_kind("rows"))

    @cached_property
    def learning(self) -> tuple[str, ...]:
        """Names of the stages that learn from the whole data set: networks and thresholds."""
        return tuple(stage.name for stage in self.of_kind("network", "thresholds"))

    @cached_property
    def scored(self) -> tuple[StageWiring, ...]:
        """The stages whose output is scored by mIoU: steps of the line in order, then references."""
        scored = [stage for stage in self.values() if stage.meta.scores.name and stage.meta.scores.measure == "mIoU"]
        return tuple(sorted(scored, key=lambda stage: stage.meta.scores.reference))

    @cached_property
    def masks(self) -> StageWiring:
        """The stage that makes the masks: what the line is for.

        Raises:
            ParamsError: dvc.yaml names none.
        """
        return self._result("rows")

    @cached_property
    def model(self) -> StageWiring:
        """The stage that trains the model that people use. Raises ParamsError as `masks`."""
        return self._result("network")

    def _result(self, kind: Kind) -> StageWiring:
        found = [stage for stage in self.of_kind(kind) if stage.meta.result]
        if len(found) != 1:
            problem = f"{WIRING_FILE}: {len(found)} stages of kind {kind} have `result: true`, not one"
            raise ParamsError(problem, f"Set it in the `meta` of one stage of {WIRING_FILE}.")
        return found[0]

    def predicting(self, network: str) -> StageWiring | None:
        """The stage whose rows are the predictions of a network, named by its noun; None for a network without one."""
        return next((stage for stage in self.of_kind("rows") if stage.meta.predicts == network), None)

    def rating(self, noun: str) -> StageWiring | None:
        """The stage whose rows are the quality of the rows of an output; None for an output without one."""
        return next((stage for stage in self.of_kind("rows") if stage.meta.rates == noun), None)

    def maker(self, noun: str) -> StageWiring | None:
        """The stage that writes data/<noun>; None for what no stage writes, such as the import."""
        return next((stage for stage in self.values() if stage.noun == noun), None)

    def stage_of(self, name: str, kind: Kind) -> StageWiring | None:
        """The stage of that name, if it is there and of that kind."""
        stage = self.get(name)
        return stage if stage is not None and stage.meta.kind == kind else None

    def noun_of(self, name: str) -> str:
        """What a stage writes; for a stage that is no longer in dvc.yaml, its name without `train_`."""
        return self[name].noun if name in self else name.removeprefix("train_")

    def before(self, name: str) -> tuple[str, ...]:
        """The stages whose outputs a stage reads directly, in order."""
        return tuple(s.name for s in self.values() if s.noun in self[name].inputs and s.name != name)

    def upstream(self, name: str) -> tuple[str, ...]:
        """All stages that a stage depends on, directly or through others, in order."""
        found, waiting = set[str](), [name]
        while waiting:
            new = set(self.before(waiting.pop())) - found
            found |= new
            waiting += new
        return tuple(stage for stage in self if stage in found)

    def scored_with(self, name: str) -> tuple[str, ...]:
        """What has to run to score a stage's output, in order, without the stage that scores: the stage, those that it needs, and
        those behind it in the line that choose its threshold or predict.
        """
        found, waiting = set[str](), [name]
        while waiting:
            stage = self[waiting.pop()]
            if stage.name not in found:
                found.add(stage.name)
                thresholds = stage.meta.scores.thresholds
                behind = (self.maker(thresholds) if thresholds else None, self.predicting(stage.noun))
                waiting += [*self.before(stage.name), *(each.name for each in behind if each is not None)]
        return tuple(each for each in self if each in found)

    def rows_behind(self, noun: str) -> tuple[str, ...]:
        """Nouns of all row outputs that rows of `noun` are made from, in the order of the line."""
        maker = self.maker(noun)
        above = self.upstream(maker.name) if maker else ()
        chain, waiting = set[str](), [noun]
        while waiting:
            stage = self.maker(waiting.pop())
            new = {n for n in (stage.inputs if stage else ()) if n in self.row_outputs} - chain
            chain |= new
            waiting += new
        return tuple(self[name].noun for name in above if self[name].noun in chain)


def read_wiring(path: Path = WIRING_FILE) -> Wiring:
    """All stages of dvc.yaml. Parsed once for each state of the file.

    Raises:
        MissingError: no such file.
        ParamsError: not YAML, or a stage's `meta` has unknown keys or values.
    """
    try:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError:  # read_yaml says what is wrong
        stamp = (0, 0, 0)
    return _parsed(path.absolute(), path, stamp)


@lru_cache(maxsize=8)
def _parsed(absolute: Path, path: Path, stamp: tuple[int, int, int]) -> Wiring:
    stages = read_yaml(path).get("stages") or {}
    try:
        _STAGES.validate_python(stages)
    except ValidationError as error:
        raise ParamsError(f"{path}: {_problem(error)}", f"Mend {path}.") from None
    metas: dict[str, Any] = {name: body.get("meta") or {} for name, body in stages.items()}
    checked = check_sections(metas, dict.fromkeys(metas, Meta), str(path))
    return Wiring({name: _stage(name, body, checked[name]) for name, body in stages.items()})


def stage_wiring(name: str) -> StageWiring:
    """One stage of dvc.yaml.

    Raises:
        ParamsError: there is not a stage of that name.
    """
    wiring = read_wiring()
    if name not in wiring:
        raise ParamsError(f"{name!r} is not a stage{did_you_mean(name, wiring)}")
    return wiring[name]


def _stage(name: str, body: dict[str, Any], meta: Any) -> StageWiring:
    def paths(key: str) -> tuple[str, ...]:
        return tuple(next(iter(item)) if isinstance(item, dict) else item for item in body.get(key, []))

    return StageWiring(name, body["cmd"], paths("deps"), paths("params"), paths("outs"), paths("metrics"), meta)


def last_runs() -> dict[str, Any]:
    """Stage → what dvc.lock says of its last run; empty where nothing has run.

    Raises:
        ParamsError: dvc.lock is damaged.
    """
    return runs_in_lock(read_yaml(LOCK_FILE), str(LOCK_FILE)) if LOCK_FILE.exists() else {}


def runs_in_lock(content: Any, source: str) -> dict[str, Any]:
    """The same of a parsed lock file. Raises ParamsError where it has another shape; `source` names it."""
    stages: dict[str, Any] = (content.get("stages") or {}) if isinstance(content, dict) else {}
    try:
        _RUNS.validate_python(stages)
    except ValidationError as error:
        raise ParamsError(
            f"{source}: damaged: {_problem(error)}", f"Restore {LOCK_FILE} with git, or delete it and type `dvc repro`."
        ) from None
    return stages


class _Out(BaseModel):
    path: str
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]


class _Run(BaseModel):
    outs: list[_Out] = []
    params: dict[str, dict[str, Any]] = {}


_Item = str | Annotated[dict[str, Any], Field(min_length=1)]


class _Body(BaseModel):
    cmd: str | list[str]
    deps: list[_Item] = []
    params: list[_Item] = []
    outs: list[_Item] = []
    metrics: list[_Item] = []
    meta: dict[str, Any] | None = None


_RUNS, _STAGES = TypeAdapter(dict[str, _Run]), TypeAdapter(dict[str, _Body])
"""The parts of dvc.lock and of dvc.yaml that are read here; DVC checks the rest."""


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{cut('.'.join(str(part) for part in first['loc']), 100) or 'stages'}: {cut(first['msg'], 200).lower()}"
