"""Plug-in families: a package with one file per method. The file's name is the method's name in params.yaml.

A method's knobs are the fields of the class `Config` in its file; params.yaml says `method: pcm`, or
`method: {name: pcm, rounds: 2}` with what differs from the method's own defaults.
"""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.settings.params import KnobsError, Section

T = TypeVar("T")


class MethodConfig(Section):
    """The chosen method of a plug-in family and its knobs. A method with knobs subclasses it as `Config` in its file.

    A function of the method takes the knobs as keyword arguments of the same names: `config.bind("walk")`. A class takes
    the whole `Config`: `config.subclass_of(Objective)`.
    """

    name: str
    """The method's name: that of its file."""
    family: str = Field(exclude=True)
    """The package that the method is from, such as ``models.cams``."""

    @model_validator(mode="before")
    @classmethod
    def _fill_nested(cls, values: Any) -> Any:
        """A mapping of a knob, such as `crf`, says what differs from the method's own default."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, Section) and isinstance(values.get(name), Mapping):
                filled[name] = {**field.default.model_dump(), **values[name]}
        return filled

    def knobs(self) -> dict[str, Any]:
        """Name → value of each knob."""
        return {name: value for name, value in self if name not in ("name", "family")}

    @property
    def module(self) -> ModuleType:
        """The method's module."""
        return importlib.import_module(f"{self.family}.{self.name}")

    def subclass_of(self, base: type[T]) -> type[T]:
        """The method's class: the subclass of `base` that its file defines.

        Raises:
            LookupError: the file defines none.
        """
        for member in vars(self.module).values():
            if isinstance(member, type) and issubclass(member, base) and member.__module__ == self.module.__name__:
                return member
        raise LookupError(f"{self.family}.{self.name} defines no {base.__name__}")

    def takes(self, function: str, argument: str) -> bool:
        """Whether a function of the method has an argument of that name, which not all methods of its family ask for."""
        return argument in inspect.signature(getattr(self.module, function)).parameters

    def bind(self, function: str) -> Any:
        """A function of the method with its knobs filled in."""
        return functools.partial(getattr(self.module, function), **self.knobs())


@dataclass(frozen=True)
class Family:
    """A plug-in family: a package with one file per method; files that start with ``_`` are shared parts."""

    package: str

    def names(self) -> list[str]:
        """Names of its methods."""
        package = importlib.import_module(self.package)
        return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))

    def knows(self, name: object) -> bool:
        """Whether it has a method of that name."""
        return isinstance(name, str) and name in self.names()

    def config(self, name: str) -> type[MethodConfig]:
        """The model of a method's knobs: `Config` in its file; a method without one has no knobs."""
        model: type[MethodConfig] = getattr(importlib.import_module(f"{self.package}.{name}"), "Config", MethodConfig)
        return model

    def has_knob(self, name: object, knob: str) -> bool:
        """Whether one of its methods has a knob."""
        return self.knows(name) and knob in self.config(str(name)).model_fields

    def choose(self, value: Any) -> Any:
        """Check a method as params.yaml names it: `pcm` or `{name: pcm, rounds: 2}`.

        Raises:
            ValueError: no such method, an unknown knob, or a wrong value.
        """
        if isinstance(value, MethodConfig):
            return value
        given = {"name": value} if isinstance(value, str) else value
        name = given.get("name") if isinstance(given, Mapping) else None
        if not self.knows(name):
            shown = repr(name) if name is not None else repr(value)
            raise ValueError(f"{shown} is unknown{did_you_mean(str(name), self.names())}")
        model = self.config(str(name))
        try:
            return model.model_validate({**given, "family": self.package})
        except ValidationError as error:
            raise KnobsError(error, model) from None


def method_names(family: str) -> list[str]:
    """Names of the methods of a family, such as ``models.cams``."""
    return Family(family).names()


def load_method(family: str, name: str) -> ModuleType:
    """Import the module of one method.

    Raises:
        ParamsError: the family has no such method.
    """
    if not Family(family).knows(name):
        raise ParamsError(f"{name!r} is not a method of {family}{did_you_mean(name, method_names(family))}")
    return importlib.import_module(f"{family}.{name}")


def choose(family: str, value: Any) -> MethodConfig:
    """A method by its name, or by name and knobs as in a checkpoint.

    Raises:
        ParamsError: the family has no such method, or the method no such knob.
    """
    try:
        chosen: MethodConfig = Family(family).choose(value)
    except ValueError as error:
        raise ParamsError(f"{family}: {error}") from None
    return chosen


def method_of(family: str) -> Any:
    """A pydantic type for a field that chooses a method of `family`: its value is the method's Config."""
    own = Family(family)
    return Annotated[SerializeAsAny[MethodConfig], own, BeforeValidator(own.choose)]
