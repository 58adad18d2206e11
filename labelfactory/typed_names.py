r"""Names as options hold them: `--classes cat,dog`, `--rename old=new`.

A comma in a name is typed `\,`, an equals sign `\=`, a backslash `\\`, a character that cannot be seen or typed `\x1b`,
`\u200b` or `\U0001f9ff`, and a blank at an end `\x20`; any other backslash stands for itself.
"""

import re

_ESCAPE = re.compile(r"\\(?:([,=\\])|([tnr])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_NAME = re.compile(r"(?:\\.|[^\\,]|\\$)+", re.DOTALL)
_PAIR = re.compile(r"((?:\\.|[^\\=])+)=(.*)", re.DOTALL)


def split_names(text: str) -> list[str]:
    r"""The names in an option, without the blanks around them.

    >>> split_names(r"cat, cup\, mug,a\x20")
    ['cat', 'cup, mug', 'a ']
    """
    return [_unescaped(piece.strip()) for piece in _NAME.findall(text) if piece.strip()]


def split_pair(text: str) -> tuple[str, str] | None:
    r"""Both sides of `old=new`; None if there is no `=`, or nothing before it.

    >>> split_pair(r"a\=b = c")
    ('a=b', 'c')
    """
    match = _PAIR.fullmatch(text)
    old, new = (_unescaped(side.strip()) for side in match.groups()) if match else ("", "")
    return (old, new) if old else None


def typed(name: str) -> str:
    r"""The name as it is typed in an option; `split_names` gives it back.

    >>> print(typed("cup, mug"), typed("cat\u200b"), typed("été "))
    cup\, mug cat\u200b été\x20
    """
    inner = len(name) - len(name.lstrip()), len(name.rstrip())
    return "".join(
        f"\\{c}" if c in ",=\\" else c if c.isprintable() and inner[0] <= k < inner[1] else _escaped(c)
        for k, c in enumerate(name)
    )


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        plain, control, *codes = match.groups()
        code = next((code for code in codes if code), "0")
        return plain or ({"t": "\t", "n": "\n", "r": "\r"}[control] if control else chr(min(int(code, 16), 0x10FFFF)))

    return _ESCAPE.sub(character, text)
