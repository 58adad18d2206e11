"""One phrase on the result of a stage, from its report: the same in the terminal and on the page."""

from collections.abc import Mapping
from typing import Any

NOT_MEASURED = "not measured"
"""In the place of a score."""


def what_it_made(report: Mapping[str, Any]) -> str:
    """One phrase on a stage's report, data/reports/<stage>.json, as `with_present_scores` gives it."""
    if "rows_computed" in report:
        parts = [f"{report['rows_computed']} rows computed"]
        parts += [f"{report['rows_copied']} copied"] if report.get("rows_copied") else []
        parts += [f"{report['rows_found']} found again"] if report.get("rows_found") else []
        parts += [f"{report['rows_quarantined']} quarantined"] if report.get("rows_quarantined") else []
        parts += [f"{report['corrected']} corrected by a person"] if report.get("corrected") else []
        parts += [f"mean quality {100 * report['quality']:.1f} %"] if isinstance(report.get("quality"), float) else []
        return ", ".join(parts)
    if report.get("enabled") is False:
        return "off"
    if "trained" in report:
        maps = {k: v for k, v in report.items() if k.startswith("map/") and isinstance(v, float)}
        scores = [f"mAP {value:.3f} on {key.removeprefix('map/')}" for key, value in maps.items()]
        scores += [f"mAP not measured on {name}" for name in report.get("not_measured", ())]
        before = "found again" if report.get("found") else "kept"
        verb = "trained on" if report["trained"] else f"{before}, trained on"
        return ", ".join([f"{verb} {report.get('training_rows', 0)} rows", *scores])
    if "quarantined" in report:
        return f"{report.get('images', 0)} images checked, {report['quarantined']} quarantined"
    if "true_masks" in report:
        return f"{report['true_masks']} images scored"
    numbers = [(key, value) for key, value in report.items() if isinstance(value, float) and key != "seconds"]
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in numbers)
