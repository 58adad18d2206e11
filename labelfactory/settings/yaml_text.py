"""YAML from outside: plain types, each key once, and small enough with all of its aliases written out."""

from typing import Any

import yaml

from labelfactory.errors import ParamsError, in_short

FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where it is installed: params.yaml and dvc.yaml are read at the start of every stage."""
DEEPEST = 64
"""Levels of lists and mappings. Ours have five; readers of values call themselves for each level."""
MOST_VALUES = 200_000
"""Values and keys, those behind aliases counted each time: ten lines of aliases can stand for 10^10."""


class Loader(FASTEST):  # type: ignore[misc]
    """What JSON knows too: text, numbers, true, false, null, lists and mappings; a date is a text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """As PyYAML does, after a check for duplicate keys, of which it would take the last."""
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} appears twice", key.start_mark)
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_yaml_int(self, node: Any) -> int:
        """A whole number of at most 64 bits: Python refuses to print one of thousands of digits."""
        number: int = super().construct_yaml_int(node)
        if not -(2**63) <= number < 2**64:
            raise yaml.constructor.ConstructorError(None, None, "a number is larger than 64 bits", node.start_mark)
        return number


TAG = "tag:yaml.org,2002:"
Loader.add_constructor(f"{TAG}int", Loader.construct_yaml_int)
Loader.add_constructor(f"{TAG}timestamp", Loader.construct_yaml_str)
for _name in ("binary", "set", "omap", "pairs"):
    Loader.add_constructor(f"{TAG}{_name}", Loader.construct_undefined)


def parse_yaml(text: str, source: str, remedy: str) -> Any:
    """The value of a YAML text.

    Args:
        text: from a file or the command line.
        source: what the text is, for the message.
        remedy: what to type.

    Raises:
        ParamsError: not YAML, a key appears twice, or it is too deep or too large.
    """
    try:
        _check_size(text)
        return yaml.load(text, Loader=Loader)  # a safe loader
    except Exception as error:  # tags such as `!!bool` make PyYAML's constructors raise anything
        raise ParamsError(f"{source}: not readable as YAML: {in_short(error, 300)}", remedy) from None


def _check_size(text: str) -> None:
    """Refuse what would take too long or too much memory, before anything is built. Raises YAMLError."""
    sizes: dict[str, int] = {}  # anchor → values below it
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the count before it
    count = 0
    for event in yaml.parse(text, Loader=FASTEST):
        match event:
            case yaml.AliasEvent():
                if event.anchor in (anchor for anchor, _ in open_nodes):
                    raise yaml.YAMLError(f"the alias {event.anchor!r} stands inside of what it stands for")
                count += sizes.get(str(event.anchor), 1)
            case yaml.ScalarEvent():
                count += 1
                if event.anchor:
                    sizes[event.anchor] = 1
            case yaml.CollectionStartEvent():
                open_nodes.append((event.anchor, count))
                count += 1
            case yaml.CollectionEndEvent():
                anchor, before = open_nodes.pop()
                if anchor:
                    sizes[anchor] = count - before
        if len(open_nodes) > DEEPEST:
            raise yaml.YAMLError(f"lists and mappings are more than {DEEPEST} levels deep")
        if count > MOST_VALUES:
            raise yaml.YAMLError(f"more than {MOST_VALUES} values, those behind aliases included")
