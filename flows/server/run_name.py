"""The name of a run, the same where it is submitted and on Prefect's pages: `whole line, 20 Nov 14:05`."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

NAMED = re.compile(r", \d\d \S+ \d\d:\d\d$")
"""How a name of ours ends; Prefect's own are two words."""


def of_line(parameters: Mapping[str, Any]) -> str:
    """`whole line`, `refine_crf without retraining`."""
    what = ", ".join(parameters.get("targets") or ()) or "whole line"
    return f"{what}{'' if parameters.get('retrain', True) else ' without retraining'}"


def of_sweep(parameters: Mapping[str, Any]) -> str:
    """`sweep of random_walk.beta`."""
    return f"sweep of {', '.join(parameters['parameters'])}"


def of_tournament(parameters: Mapping[str, Any]) -> str:
    """`tournament of objectives`."""
    return f"tournament of {', '.join(parameters['contenders'])}"


def of_new_images(parameters: Mapping[str, Any]) -> str:
    """`new images`, with the source if one is given."""
    source = parameters.get("source") or ""
    return f"new images{' of ' + source if source else ''}"


KINDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "label-factory": of_line,
    "sweep": of_sweep,
    "tournament": of_tournament,
    "label-new-images": of_new_images,
}


def run_name(flow: str, parameters: Mapping[str, Any], present: str = "") -> str:
    """The name of a run of a flow; the present one if a submission or an earlier attempt has given it.

    Args:
        flow: the flow's name.
        parameters: of the run.
        present: the run's name so far.
    """
    return present if NAMED.search(present) else f"{KINDS[flow](parameters)}, {datetime.now().astimezone():%d %b %H:%M}"
