"""Every pair of writing commands at once, with random delays: the project ends as if one had been typed after the other.

    python tests/support/two_at_once.py [--pairs 153] [--seed 0] [--of NAME …]

Both commands start within a third of a second, and each sleeps a little before some of its calls of file functions. Afterwards
nothing is lost, nothing is doubled, no temporary file is left, both have ended with 0 or 2, and neither printed a traceback.
"""

import argparse
import functools
import itertools
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked_commands import command, fork, load, wait
from small_case import WRITERS, copy_case, leftovers, make_case, state

from labelfactory.errors import DataError

SLEPT_BEFORE = ("replace", "unlink", "mkdir", "link")
LONGEST_SLEEP = 0.1


def dawdling(run: Callable[[], None], seed: float) -> Callable[[], None]:
    """The same work, delayed at its start and before its calls of file functions."""

    def delayed() -> None:
        dice = random.Random(seed)

        def slow(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def call(*args: Any, **options: Any) -> Any:
                if dice.random() < 0.3:
                    time.sleep(dice.uniform(0, LONGEST_SLEEP))
                return function(*args, **options)

            return call

        for name in SLEPT_BEFORE:
            setattr(os, name, slow(getattr(os, name)))
        time.sleep(dice.uniform(0, 0.3))
        run()

    return delayed


class Campaign:
    """Pairs of commands in copies of one case."""

    def __init__(self, root: Path, dice: random.Random) -> None:
        self.root, self.dice = root, dice
        self.case = make_case(root / "case")
        self.after: dict[tuple[str, ...], tuple[list[int], dict[str, Any]]] = {}
        self.waited = 0

    def in_order(self, *names: str) -> tuple[list[int], dict[str, Any]]:
        """Exit codes and state after commands one after the other."""
        if names not in self.after:
            folder = self.root / "after" / "-".join(names).replace(" ", "_")
            folder.parent.mkdir(exist_ok=True)
            codes = self.in_order(*names[:-1])[0] if names[1:] else []
            copy_case(self.case if not names[1:] else self.root / "after" / names[0].replace(" ", "_"), folder)
            code = wait(fork(folder / "project", folder / "log", command(*WRITERS[names[-1]])))
            assert code in (0, 2), (folder / "log").read_text()
            self.after[names] = ([*codes, code], state(folder))
            if names[1:]:
                shutil.rmtree(folder)
        return self.after[names]

    def at_once(self, first: str, second: str) -> None:
        """Run two commands at once. An AssertionError is what the campaign is looking for."""
        folder = copy_case(self.case, self.root / "both")
        logs = [folder / "first.log", folder / "second.log"]
        pids = [
            fork(folder / "project", log, dawdling(command(*WRITERS[name]), self.dice.random()))
            for name, log in zip((first, second), logs, strict=True)
        ]
        codes = [wait(pid) for pid in pids]
        printed = "\n".join(f"--- {log.name}: {log.read_text()}" for log in logs)
        assert set(codes) <= {0, 2}, f"{first} and {second} ended with {codes}\n{printed}"
        assert "Traceback" not in printed, printed
        assert not leftovers(folder), f"{first} and {second} left {leftovers(folder)}"
        try:
            got = state(folder)
        except DataError as error:
            raise AssertionError(f"{first} and {second} left what cannot be read: {error}\n{printed}") from error
        orders = [self.in_order(first, second), self.in_order(second, first)]
        known = [(orders[0][0], orders[0][1]), (orders[1][0][::-1], orders[1][1])]
        if not any(got == there for _, there in known):
            differing = [sorted(k for k in got if got[k] != there[k]) for _, there in known]
            lines = [f"{k}: {got[k]}, not {' or '.join(str(there[k]) for _, there in known)}" for k in differing[0]]
            raise AssertionError(
                "\n".join([f"{first} and {second}: neither order gives this: {differing}", *lines, printed])
            )
        self.waited += "waiting for labelfactory" in printed
        shutil.rmtree(folder)


def campaign(root: Path, names: list[str], count: int, seed: int) -> Campaign:
    """So many pairs of these commands, each pair as often as the others."""
    dice = random.Random(seed)
    running = Campaign(root, dice)
    pairs = list(itertools.combinations_with_replacement(names, 2))
    dice.shuffle(pairs)
    for number in range(count):
        running.at_once(*pairs[number % len(pairs)])
    return running


def main() -> None:
    """Run a campaign and print what it saw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=len(WRITERS) * (len(WRITERS) + 1) // 2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", nargs="*", default=list(WRITERS))
    args = parser.parse_args()
    load()
    with tempfile.TemporaryDirectory() as folder:
        running = campaign(Path(folder), args.of, args.pairs, args.seed)
    print(f"{args.pairs} pairs, {running.waited} of which had to wait: nothing lost, nothing doubled")


if __name__ == "__main__":
    main()
