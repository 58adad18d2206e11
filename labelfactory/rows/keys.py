"""Keys of rows, computed fast: a plan needs one for every row."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.digests import digest_bytes


class KeyMaker:
    """Keys of a stage's rows. Inputs that all rows share are encoded as JSON once.

    Args:
        fixed: the inputs that all rows share.
        upstream: nouns of the per-image outputs that the stage reads.
    """

    def __init__(self, fixed: Mapping[str, Any], upstream: Iterable[str]) -> None:
        self._fixed, own_names = dict(fixed), ("image", "tags", *upstream)
        names = sorted({*fixed, *own_names})
        own = {name: _json(value) for name, value in fixed.items() if name not in own_names}
        self._parts = [(f"{_json(name)}:", name, own.get(name)) for name in names]

    def inputs(self, record: ImageRecord, digests: Mapping[str, str]) -> dict[str, Any]:
        """Everything that a row depends on, by name. `digests`: of the rows that it reads, by noun."""
        return {**self._fixed, "image": record.sha256, "tags": list(record.tags), **digests}

    def key(self, record: ImageRecord, digests: Mapping[str, str]) -> str:
        """`row_key` of these inputs, without building them."""
        own = {"image": _json(record.sha256), "tags": _json(record.tags)}
        own |= {noun: _json(digest) for noun, digest in digests.items()}
        text = ",".join(head + (own[name] if shared is None else shared) for head, name, shared in self._parts)
        return digest_bytes(f"{{{text}}}".encode())


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
