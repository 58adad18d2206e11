"""`labelfactory push` and `labelfactory pull`: data, outputs and photographs in a shared bucket."""

from flows.line.storage import pull as fetch
from flows.line.storage import push as send
from labelfactory.console import say


def push() -> None:
    """Send photographs, the import and the line's outputs to DVC's remote; only what it does not have."""
    moved = send()
    say(f"pushed: {moved.pictures} photographs and masks, {moved.outputs} files of outputs")


def pull() -> None:
    """Fetch what another machine pushed, so that this clone continues from there."""
    moved = fetch()
    say(f"pulled: {moved.pictures} photographs and masks, {moved.outputs} files of outputs")
