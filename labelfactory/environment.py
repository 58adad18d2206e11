"""Positive numbers from environment variables, all read and refused in the same way."""

import math
import os
from typing import TypeVar

from labelfactory.errors import UserError

Number = TypeVar("Number", int, float)


def positive(variable: str, default: Number) -> Number:
    """The variable's number, of the type of `default`; `default` where the variable is unset or empty.

    Raises:
        UserError: the value is not a positive number, or not a whole one where `default` is an int.
    """
    value = os.environ.get(variable, "")
    if not value:
        return default
    kind = type(default)
    try:
        number = kind(value)
    except ValueError:
        number = kind(0)
    if not 0 < number < math.inf:
        whole = "whole " if kind is int else ""
        raise UserError(f"{variable}={value!r} must be a positive {whole}number", f"Type `unset {variable}`.")
    return number
