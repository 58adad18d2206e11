"""The files of a folder: photographs, and what is passed over."""

from pathlib import Path

from labelfactory.foreign_files import passed_over, photographs_below, rubbish
from sources._findings import Findings


def folders_in(root: Path) -> list[Path]:
    """The folders in a folder, without rubbish."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not rubbish(Path(path.name)))


def photographs(findings: Findings, folder: Path) -> list[Path]:
    """Every photograph below; other files are counted as passed over."""
    return list(photographs_below(folder, findings.passed_over, within=findings.root))


def loose(folder: Path) -> list[Path]:
    """The photographs in a folder, not below it."""
    return [path for path in folder.iterdir() if path.is_file() and not passed_over(Path(path.name))]


def pass_over_loose(findings: Findings, folder: Path) -> None:
    """Count what is beside folders of classes: photographs there have no class."""
    if alone := loose(folder):
        findings.decisions.append(f"{folder}: {len(alone)} photographs beside the folders of classes are not taken")
    for path in folder.iterdir():
        if kind := rubbish(Path(path.name)) or ("" if path.is_dir() else passed_over(Path(path.name))):
            findings.passed_over[kind] += 1
