"""Change params.yaml as a person would: comments and other values stay, and what is not valid is not written."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from labelfactory.errors import ParamsError
from labelfactory.files import write_whole
from labelfactory.settings.overlay import lay_over
from labelfactory.settings.params import PARAMS_FILE, check_sections, read_yaml
from labelfactory.settings.wiring import read_wiring
from labelfactory.settings.yaml_text import parse_yaml
from labelfactory.stage.runner import stage_class


def change_params(overlays: Iterable[Mapping[str, Any]], remedy: str, *, whole_methods: bool = False) -> list[str]:
    """Lay values over params.yaml, one mapping after the other.

    Args:
        overlays: section → values that differ.
        remedy: what to do where they are not valid.
        whole_methods: as in `lay_over`.

    Returns:
        Each change as `section.key: old → new`; where there is none, the file stays as it is.

    Raises:
        ParamsError: the file cannot be read, or would not be valid; it is unchanged.
    """
    path = Path(PARAMS_FILE)
    read_yaml(path)  # raises its problems
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    try:
        values = editor.load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError) as error:  # YAML 1.2, which differs from the 1.1 of `read_yaml` in details
        raise ParamsError(
            f"{path}: not readable as YAML 1.2: {' '.join(str(error).split())}", f"Mend {path}."
        ) from None
    changes: list[str] = []
    for over in overlays:
        lay_over(values, over, changes, whole_methods=whole_methods)
    if changes:
        text = _text(editor, values)
        would_be = f"{path} as it would be"
        sections = {stage: stage_class(stage).section for stage in read_wiring()}
        try:
            check_sections(parse_yaml(text, would_be, remedy), sections, would_be)
        except ParamsError as error:
            raise ParamsError(error.problem, f"{path} is unchanged; {remedy}.") from None
        with write_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return changes


def _text(editor: YAML, values: Any) -> str:
    stream = io.StringIO()
    editor.dump(values, stream)
    return stream.getvalue()
