"""What each variant of a sweep gains over the line in data/, with an interval, from what `evaluate` kept of each image."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flows.sweeps.table import Outcome
from labelfactory.dvc_cache import cached
from labelfactory.errors import UserError
from labelfactory.level.paired import Gain
from labelfactory.rows.scored import SCORED_IMAGES
from labelfactory.settings.wiring import LOCK_FILE, read_wiring, runs_in_lock
from labelfactory.settings.yaml_text import parse_yaml
from lineage.evaluation import read_evaluation
from lineage.gains import ScoredImages, gains_in, scored_images_in
from lineage.scores import SCORE


def with_gains(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The same with their gains, where the line was scored on the same images with the same settings, and the images are there."""
    line, now = scored_images_in(SCORED_IMAGES), read_evaluation()
    if line is None or line.evaluation.measured != now.measured:  # another evaluation has just written one of the two
        return list(outcomes)
    return [replace(outcome, gains=_gains(outcome, line, now.figures)) for outcome in outcomes]


def _gains(outcome: Outcome, line: ScoredImages, figures: Mapping[str, float]) -> dict[str, Gain]:
    found: dict[str, Gain] = {}
    variant = _images_of(outcome.name) if outcome.scores else None
    if variant is None:
        return found
    before, after = line.evaluation, variant.evaluation
    for name, value in outcome.scores.items():
        key, listed = f"{SCORE}{name}", f"list {name.partition('/')[0]}"
        alike = before.inference == after.inference and before.measured.get(listed) == after.measured.get(listed)
        if key in figures and alike and before.classes == after.classes:
            gain = gains_in(key, (line, variant), (figures[key], value), after.classes).get(key)
            found |= {name: gain} if gain else {}
    return found


def _images_of(name: str) -> ScoredImages | None:
    """The images of an experiment of DVC, by the dvc.lock of its commit; None where they are gone."""
    commits = _git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}").split()
    text = _git("show", f"{commits[0]}:{LOCK_FILE}") if commits else ""
    stage = read_wiring().maker(SCORED_IMAGES.parent.name)
    if not text or stage is None:
        return None
    try:
        run = runs_in_lock(parse_yaml(text, name, ""), name).get(stage.name, {})
    except UserError:  # the table of what was run does not wait for it
        return None
    md5 = next((out["md5"] for out in run.get("outs", ()) if out["path"] == SCORED_IMAGES.as_posix()), None)
    return scored_images_in(cached(md5)) if md5 else None


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
