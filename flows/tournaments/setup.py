"""What a tournament is asked for, checked before anything runs: contenders, photographs, rounds."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from flows.tournaments.contenders import Entrant, entrants
from flows.tournaments.jobs import Course, course_of
from flows.tournaments.rounds import Plan, plans_of
from flows.tournaments.selection import select
from labelfactory.dataset.manifest import with_truth
from labelfactory.digests import digest_json
from labelfactory.errors import ParamsError
from labelfactory.lock import project_lock
from labelfactory.stage.given import digest_of_all_given

MOST_SEEDS = 20


@dataclass(frozen=True)
class Wish:
    """What was typed.

    Attributes:
        contenders: names of families and YAML files.
        until: the last step, as metrics call it; empty for the first that a contender changes.
        seeds: how many.
        split: the list that goes through the line; empty for the training list of params.yaml.
        images: of that list; 0 for all.
        budget: seconds; 0 for no limit.
    """

    contenders: Sequence[str]
    until: str = ""
    seeds: int = 2
    split: str = ""
    images: int = 0
    budget: float = 0.0

    @property
    def command(self) -> str:
        """What runs the same again."""
        options = {
            "--until": self.until,
            "--seeds": self.seeds,
            "--list": self.split,
            "--images": self.images,
            "--budget": f"{self.budget:g}s" if self.budget else "",
        }
        given = [str(word) for name, value in options.items() if value for word in (name, value)]
        return shlex.join(["labelfactory", "tournament", *self.contenders, *given])


@dataclass(frozen=True)
class Setup:
    """A tournament that can begin."""

    title: str
    command: str
    entrants: tuple[Entrant, ...]
    course: Course
    plans: tuple[Plan, ...]
    given: str
    """Digest of params.yaml, import and corrections, as they were when it was set up."""

    @property
    def digest(self) -> str:
        """Of all that the contenders share."""
        base = {name: section.digest() for name, section in self.entrants[0].sections.items()}
        rounds = [[plan.selection.digest, plan.seeds] for plan in self.plans]
        return digest_json({"params": base, "until": self.course.until, "rounds": rounds})


def set_up(wish: Wish) -> Setup:
    """Check what is asked for.

    Raises:
        ParamsError: something of it is not valid.
        MissingError: nothing was imported yet.
    """
    if not 1 <= wish.seeds <= MOST_SEEDS:
        raise ParamsError(f"--seeds {wish.seeds}: not between 1 and {MOST_SEEDS}", "Two tell chance from gain.")
    with project_lock("labelfactory tournament"):  # between what is read and what is written comes no withdrawal
        return _set_up(wish)


def _set_up(wish: Wish) -> Setup:
    given = digest_of_all_given()
    own = tuple(entrants(wish.contenders))
    split = wish.split or own[0].values["prepare"]["train_list"]
    course = course_of(own, wish.until, split, with_truth=with_truth(split))
    scores_val = course.scored != course.split

    def choose(images: int) -> Plan:
        return Plan(select(split, course.val_list, images, scores_val=scores_val), wish.seeds)

    plans = plans_of(choose(wish.images), choose, halving=wish.budget > 0)
    return Setup(" ".join(wish.contenders), wish.command, own, course, tuple(plans), given)
