"""What a server has to know of the report of a tournament: what it may run, and which photographs it shows."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

SCRIPT = (Path(__file__).parent / "tournament.js").read_text(encoding="utf-8")
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    + "'"
)
"""What the page may load and run: its own script alone, by its digest."""


def photographs_on(page: str) -> list[str] | None:
    """Ids of the photographs that a page shows, as it lists them itself; None for one that does not."""
    listed = re.search(r'<meta name="photographs" content="([^"]*)">', page)
    if listed is None:
        return None
    try:
        ids = json.loads(html.unescape(listed[1]))
    except ValueError:
        return None
    return [str(each) for each in ids] if isinstance(ids, list) else None
