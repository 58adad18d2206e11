"""A plug-in family is a package with one file per method; the file's name is the method's name in params.yaml."""

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

from pydantic import AfterValidator

from labelfactory.errors import ParamsError, did_you_mean


@dataclass(frozen=True)
class Family:
    """Marks a params field whose value names a method of the plug-in family `package`."""

    package: str


def method_names(family: str) -> list[str]:
    """Names of the methods of a family, such as ``models.cams``; files that start with ``_`` are not methods."""
    package = importlib.import_module(family)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def load_method(family: str, name: str) -> ModuleType:
    """Import the module of one method.

    Raises:
        ParamsError: the family has no such method.
    """
    if name not in method_names(family):
        raise ParamsError(f"{name!r} is no method of {family}{did_you_mean(name, method_names(family))}")
    return importlib.import_module(f"{family}.{name}")


def method_of(family: str) -> Any:
    """A pydantic type for a params field that names a method of `family`."""

    def known(name: str) -> str:
        if name not in method_names(family):
            raise ValueError(f"{name!r} is unknown{did_you_mean(name, method_names(family))}")
        return name

    return Annotated[str, Family(family), AfterValidator(known)]
