"""What the result of an experiment follows from: the digests that its name is made of, found again in its folder before it runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labelfactory.dataset.corrections import CORRECTIONS, TABLE
from labelfactory.dataset.manifest import MANIFEST
from labelfactory.digests import digest_code, digest_file, digest_json
from labelfactory.settings.wiring import WIRING_FILE, read_wiring

GIVEN = (MANIFEST.parent, CORRECTIONS)
"""Folders that people fill; neither git nor DVC holds them."""


def name_of(params: Mapping[str, Any], inputs: Mapping[str, str], until: str = "") -> str:
    """The name of the experiment with these parameters and inputs, which stops at a stage if one is named."""
    named = {"params": params, **inputs, **({"until": until} if until else {})}
    return f"sweep-{digest_json(named)[:12]}"


def inputs_in(folder: Path) -> dict[str, str]:
    """Digests of the inputs beside params in a project's folder: wiring, code of all stages, import, and corrections if any."""
    folder = folder.resolve()
    files = {"dvc.yaml": WIRING_FILE, "import": MANIFEST, "corrections": CORRECTIONS / TABLE}
    found = {name: folder / path for name, path in files.items()}
    digests = {name: digest_file(path) for name, path in found.items() if name == "import" or path.exists()}
    return {"code": digest_code(_code(folder), folder), **digests}


def code_files(folder: Path) -> Iterator[Path]:
    """Every Python file of a project's stages, relative to its folder."""
    for path in _code(folder):
        yield from (file.relative_to(folder) for file in ([path] if path.is_file() else path.rglob("*.py")))


def _code(folder: Path) -> list[Path]:
    wiring = read_wiring(folder / WIRING_FILE)
    return [folder / path for path in sorted({path for stage in wiring.values() for path in stage.code})]
