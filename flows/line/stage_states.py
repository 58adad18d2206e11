"""What DVC says of each stage: its state, and why it is stale."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.line.dvc_repo import failures_named, locked_stages, open_repo
from flows.line.planned import StageState
from flows.line.unused_inputs import REASON, noted_unused
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.wiring import last_runs, read_wiring


def line_status() -> list[StageState]:
    """The state of every stage, in the order of the line."""
    with open_repo() as repo, failures_named():
        changed = repo.status()
        frozen = {stage.addressing for stage in repo.index.stages if stage.frozen}
        known = locked_stages()
        unused = noted_unused(repo, sorted(known))
    states = []
    for name in read_wiring():
        reasons = (*_reasons(name, changed.get(name, [])), *([REASON] if name in unused else []))
        if name in frozen:
            states.append(StageState(name, "frozen", reasons))
        elif name not in known:
            states.append(StageState(name, "never run", ()))
        else:
            states.append(StageState(name, "stale" if reasons else "up to date", reasons))
    return states


def _reasons(name: str, entries: Sequence[object]) -> Iterator[str]:
    """DVC's nested status as phrases: `params.yaml refine_crf.gt_prob: 0.7 → 0.8`, `data/cams: modified`."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for kind, changes in entry.items():  # type: ignore[attr-defined]
            what = {"changed deps": "", "changed outs": "output "}.get(kind, f"{kind} ")
            for path, change in changes.items():
                if path == PARAMS_FILE and isinstance(change, dict):
                    yield from _changed_params(name, change)
                else:
                    yield f"{what}{path}: {change}"


def _changed_params(name: str, sections: Mapping[str, object]) -> Iterator[str]:
    """Each changed key in the sections of params.yaml that a stage reads, since its last run."""
    before = last_runs().get(name, {}).get("params", {}).get(PARAMS_FILE, {})
    now = read_yaml(Path(PARAMS_FILE))
    for section, word in sections.items():
        old, new = _flat(before.get(section, {}), section), _flat(now.get(section, {}), section)
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        for key in keys:
            yield f"{PARAMS_FILE} {key}: {old.get(key, 'not there')} → {new.get(key, 'not there')}"
        if not keys:
            yield f"{PARAMS_FILE} {section}: {word}"


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Dotted name → value, for all values in a nested mapping."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        flat |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return flat
