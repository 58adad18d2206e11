"""Reports of stages, as they are read back from data/reports/<stage>.json."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from labelfactory.json_files import read_json
from labelfactory.settings.wiring import REPORTS

Count = Annotated[int, Field(ge=0)]


class Pace(BaseModel):
    """How fast a stage is: units of its work, and seconds for them."""

    units: Annotated[int, Field(gt=0)]
    seconds: Annotated[float, Field(ge=0)]


class SectionValues(BaseModel):
    """A section of params.yaml as a stage used it, with the defaults of its methods."""

    model_config = ConfigDict(extra="allow")

    section: str
    values: dict[str, Any]


class OutputState(BaseModel):
    """An output that a stage read or left, by digest (`labelfactory.stage.output_state`)."""

    model_config = ConfigDict(extra="allow")

    name: str
    kind: str
    digest: str
    rows: Count
    training_rows: str = ""
    classes: list[str] = []
    training: str = ""


class StageReport(BaseModel):
    """What every report holds, and the figures that others read; a stage adds its own."""

    model_config = ConfigDict(extra="allow")

    seconds: Annotated[float, Field(ge=0)]
    peak_memory_mb: Count
    code: str = ""
    precision: str = ""
    pace: Pace | None = None
    rows_computed: Count = 0
    rows_copied: Count = 0
    rows_found: Count = 0
    rows_quarantined: Count = 0
    corrected: Count = 0
    training_rows: Count = 0
    images: Count = 0
    quarantined: Count = 0
    true_masks: Count = 0
    trained: bool = False
    found: bool = False
    quarantined_images: list[str] = []
    falls: list[str] = []
    settings: list[SectionValues] = []
    given: list[str] = []
    read: list[OutputState] = []
    made: list[OutputState] = []


def read_report(stage: str) -> dict[str, Any]:
    """The report of a stage's last run; empty where it never ran.

    Raises:
        DataError: the file is damaged.
    """
    path = REPORTS / f"{stage}.json"
    if not path.exists():
        return {}
    report: StageReport = read_json(path, StageReport, f"Delete {path} and type `labelfactory run`.")
    return report.model_dump(exclude_unset=True)
