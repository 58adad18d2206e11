"""What would come to light only hours later, asked before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelfactory.digests import digest_file
from labelfactory.errors import MissingError, ParamsError, did_you_mean
from labelfactory.manifest import MANIFEST, lists_of
from labelfactory.params import Section


def check_line(sections: Mapping[str, Section]) -> None:
    """Hold the sections of params.yaml against what is on disk: lists that are scored, files of weights.

    Raises:
        ParamsError: no image stands on a list, or a file of weights is another than the one named.
        MissingError: a file of weights is not there.
        DataError: the import is damaged.
    """
    if MANIFEST.exists():
        _check_lists(sections)
    _check_weights(sections)


def _check_lists(sections: Mapping[str, Section]) -> None:
    """Lists that `evaluate` scores."""
    known = lists_of()
    evaluate: Any = sections.get("evaluate")
    for name in evaluate.lists if evaluate else ():
        if name not in known:
            raise ParamsError(
                f"evaluate.lists: no image stands on the list {name!r}{did_you_mean(name, known)}",
                f"Mend params.yaml; the import has the lists {', '.join(sorted(known))}.",
            )


def _check_weights(sections: Mapping[str, Section]) -> None:
    """Files of weights, with their digests."""
    for name, section in sections.items():
        weights: str = getattr(section, "weights", "random")
        if weights in ("package", "random", "classifier") or weights.startswith(("http://", "https://")):
            continue
        if not Path(weights).is_file():
            raise MissingError(f"{name}.weights: there is no file {weights}", "Correct the path, or give a URL.")
        found, wanted = digest_file(Path(weights)), getattr(section, "weights_sha256", "")
        if found != wanted.lower():
            raise ParamsError(
                f"{name}.weights: {weights} has the SHA-256 {found}, not {wanted}",
                f"If you trust this file, write its digest as {name}.weights_sha256; otherwise fetch it again.",
            )
