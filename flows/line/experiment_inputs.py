"""What the result of an experiment follows from: the digests that its name is made of, found again in its folder before it runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelfactory.dataset.corrections import CORRECTIONS
from labelfactory.dataset.manifest import MANIFEST
from labelfactory.digests import digest_code, digest_file, digest_json
from labelfactory.settings.params import read_yaml
from labelfactory.settings.wiring import LOCK_FILE, METRICS, WIRING_FILE, read_wiring, runs_in_lock
from labelfactory.stage.given import file_digests

GIVEN = (MANIFEST.parent, CORRECTIONS)
"""Folders that people fill; neither git nor DVC holds them."""
KEPT = "outputs of the stages that do not run"
"""Their name among the inputs."""


def name_of(params: Mapping[str, Any], inputs: Mapping[str, str], until: str = "") -> str:
    """The name of the experiment with these parameters and inputs, which stops at a stage if one is named."""
    named = {"params": params, **inputs, **({"until": until} if until else {})}
    return f"sweep-{digest_json(named)[:12]}"


def inputs_in(folder: Path, stages: Sequence[str] = ()) -> dict[str, str]:
    """Digests of the inputs beside params in a project's folder: wiring, code of all stages, import with maps, and corrections.

    Args:
        folder: the project's, or an experiment's.
        stages: those that run, and no others; none for the whole line. What the others have made is an input too, as far as it is
            scored.
    """
    folder = folder.resolve()
    digests = {"dvc.yaml": digest_file(folder / WIRING_FILE)}
    digests |= {path.name: digest_json(file_digests(path.name, folder)) for path in GIVEN}
    kept = {KEPT: digest_json(_kept_outputs(folder, stages))} if stages else {}
    return {"code": digest_code(_code(folder), folder), **digests, **kept}


def _kept_outputs(folder: Path, stages: Sequence[str]) -> dict[str, str]:
    """Path → MD5, by dvc.lock, of what the stages that do not run have made and the one that scores reads."""
    wiring, lock = read_wiring(folder / WIRING_FILE), folder / LOCK_FILE
    scoring = wiring.maker(METRICS.parent.name)
    runs = runs_in_lock(read_yaml(lock), str(LOCK_FILE)) if lock.exists() else {}
    kept = [run for name, run in runs.items() if name not in stages]
    read = scoring.deps if scoring else ()
    return {out["path"]: out["md5"] for run in kept for out in run.get("outs", ()) if out["path"] in read}


def code_files(folder: Path) -> Iterator[Path]:
    """Every Python file of a project's stages, relative to its folder."""
    for path in _code(folder):
        yield from (file.relative_to(folder) for file in ([path] if path.is_file() else path.rglob("*.py")))


def _code(folder: Path) -> list[Path]:
    wiring = read_wiring(folder / WIRING_FILE)
    return [folder / path for path in sorted({path for stage in wiring.values() for path in stage.code})]
