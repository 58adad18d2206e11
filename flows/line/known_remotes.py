"""The remotes that this project has sent to or taken from: something of it lies there, also while one is away.

Noted in data/ledger/remotes.json by digests of their addresses, since names in DVC's settings change, each with a text for people
that has no secret in it; beside the ledger, since clones that share data/ share what was sent.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dvc.repo import Repo
from pydantic import BaseModel

from flows.line.remote_places import Place, earlier_key, place_of, shown
from flows.line.remote_store import Store
from flows.line.shared_import import LAST_SHARED
from labelfactory.files import make_folder, write_whole
from labelfactory.json_files import Sha256, read_json
from labelfactory.masking import HIDDEN
from lineage.ledger import LEDGER, Ledger

KNOWN = LEDGER / "remotes.json"
EARLIER = Path(".labelfactory/remotes.json")
"""Where an earlier program noted them, in each clone."""
UNNAMED = "the remote of an earlier `labelfactory push` or `pull`"
"""Where an earlier program noted that it had sent something, but not where to."""
RESTORE = (
    "Write the addresses of all remotes that this project has pushed to or pulled from into it: "
    '{"places": ["s3://BUCKET/FOLDER"]}.'
)


_Noted = dict[Sha256, str] | list[str]


class _File(BaseModel):
    """The list: key → text for people. Earlier programs, and people who restore it, write addresses alone."""

    places: _Noted
    begun: _Noted = {}  # a push there began, and nobody knows whether anything was sent


@dataclass(frozen=True)
class _Known:
    """The list as it is meant, under the keys that the remotes of DVC's settings have now."""

    places: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        return {**self.begun, **self.places}

    def with_begun(self, place: Place) -> "_Known":
        return _Known(self.places, {**self.begun, place.key: self._text(place)})

    def with_place(self, place: Place) -> "_Known":
        return _Known({**self.places, place.key: self._text(place)}, self.without_begun(place).begun)

    def without_begun(self, place: Place) -> "_Known":
        return _Known(self.places, {key: text for key, text in self.begun.items() if key != place.key})

    def _text(self, place: Place) -> str:
        """Of the text that was noted and the one of now, that with less to read: another shell knows other secrets."""
        return max(place.shown, self.all.get(place.key, ""), key=lambda text: text.count(HIDDEN))


def known_places(repo: Repo) -> dict[str, str]:
    """Where this project has sent to or taken from, or may have: key → text for people.

    Raises:
        DataError: the list is damaged; without it, a remote that is away would pass for one that nothing was sent to.
    """
    known = _read(repo)
    if EARLIER.exists() or (KNOWN.exists() and KNOWN.stat().st_mode & 0o004):
        with Ledger().locked():
            _write(_read(repo))
    return known.all


def note_place(repo: Repo, name: str) -> None:
    """Note that something of this project lies at a remote. Raises DataError as `known_places`."""
    with Ledger().locked():
        _write(_read(repo).with_place(place_of(repo, name)))


@contextmanager
def sending(repo: Repo, store: Store) -> Iterator[None]:
    """Note a remote before anything is sent there inside. It is forgotten if that fails and nothing came to be there.

    Raises:
        DataError: as `known_places`.
    """
    place = place_of(repo, store.name)
    with Ledger().locked():
        before = _read(repo)
        is_new = place.key not in before.all
        if is_new:
            _write(before.with_begun(place))
    try:
        yield
    except BaseException:
        if is_new and not _may_hold(store):
            with Ledger().locked():
                _write(_read(repo).without_begun(place))
        raise
    note_place(repo, store.name)


def lost_places(repo: Repo) -> list[str]:
    """Those that DVC's settings do not name any more, for people."""
    now = {place_of(repo, name).key for name in repo.config["remote"]}
    return sorted(text for key, text in known_places(repo).items() if key not in now)


def is_gone(repo: Repo, store: Store) -> bool:
    """Whether what was sent to or taken from a remote is not there, such as on a disk that is not connected."""
    return is_shared(repo, store) and not store.fs.exists(store.root)


def is_shared(repo: Repo, store: Store) -> bool:
    """Whether labelfactory's folder at a remote is this project's, as its ids are: a push was finished, or an import taken from it.

    Otherwise it may be another project's. Raises DataError as `known_places`.
    """
    return place_of(repo, store.name).key in _read(repo).places


def _may_hold(store: Store) -> bool:
    """Whether something of this project may lie at a remote to which a push failed."""
    try:
        return any(store.fs.exists(folder) for folder in (store.root, store.odb.path))
    except Exception:  # it does not answer, or not any more
        return bool(store.has_written)


def _read(repo: Repo) -> _Known:
    """The list, with what an earlier program noted.

    An address of an earlier program that several remotes have now may be any of them: something may have been sent to each.
    """
    files = [path for path in (KNOWN, EARLIER) if path.exists()]
    read: list[_File] = [read_json(path, _File, RESTORE) for path in files]
    remotes = {name: place_of(repo, name) for name in repo.config["remote"]}
    if not files and LAST_SHARED.exists():  # of an earlier program, which did not note where
        default = repo.config["core"].get("remote")
        if default in remotes:
            return _Known().with_place(remotes[default])
        return _Known({earlier_key(UNNAMED): UNNAMED})
    known = _Known()
    now = {place.key: place for place in remotes.values()}
    for is_begun, noted in [(False, each.places) for each in read] + [(True, each.begun) for each in read]:
        for key, text in _keyed(noted).items():
            meant = [place for place in now.values() if key == place.key or key in place.earlier]
            for place in meant or [Place(key, text, frozenset())]:
                place = replace(place, shown=text) if key == place.key else place
                known = known.with_begun(place) if is_begun or len(meant) > 1 else known.with_place(place)
    return _Known(known.places, {key: text for key, text in known.begun.items() if key not in known.places})


def _keyed(noted: dict[str, str] | list[str]) -> dict[str, str]:
    return noted if isinstance(noted, dict) else {earlier_key(address): shown(address) for address in noted}


def _write(known: _Known) -> None:
    """Write the list, in the place of an earlier program's. The caller holds the ledger's lock.

    Others may not read it: an address may have a secret that the environment does not name. A group that shares the folder may.
    """
    make_folder(KNOWN.parent)
    shared = 0o060 if KNOWN.parent.stat().st_mode & 0o020 else 0
    content = {"places": _sorted(known.places), "begun": _sorted(known.begun)}
    with write_whole(KNOWN, mode=0o600) as temporary:
        temporary.chmod(0o600 | shared)
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    EARLIER.unlink(missing_ok=True)


def _sorted(noted: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(noted.items(), key=lambda item: item[::-1]))
