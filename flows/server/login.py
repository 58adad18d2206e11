"""The login of the server that `labelfactory up` starts: $PREFECT_SERVER_API_AUTH_STRING, else a random one.

The random one is in .labelfactory/login, which only its owner reads, for as long as processes that use it run. It is given
to them by their environment, which other users cannot read either; it is on no command line and in no log.
"""

import base64
import os
import re
import secrets

from flows.server.private_files import FOLDER, read_private, write_private
from labelfactory.errors import UserError

LOGIN_FILE = FOLDER / "login"
SERVER_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
USER = "admin"
FORM = re.compile(r"[!-9;-~]+:[!-~]+")
ENTRANCE = "/enter"
"""Page of the server that gives a browser the login which follows in the address after a `#`, which browsers do not send."""


def login_of_new_server(*, keep: bool) -> str:
    """The login `user:password` of a server that is about to start.

    Args:
        keep: processes of an earlier `up` still run; they go on with the login that they have.

    Raises:
        UserError: they run, and their login is not known here.
    """
    if keep and (kept := known_login()):
        return kept
    if keep:
        raise UserError(
            "processes of an earlier `labelfactory up` run here with another login",
            f"Set {SERVER_VARIABLE} as it was then, or type `labelfactory down` first.",
        )
    forget_login()
    if chosen := os.environ.get(SERVER_VARIABLE):
        return chosen
    login = f"{USER}:{secrets.token_urlsafe(32)}"
    write_private(LOGIN_FILE, f"{login}\n")
    return login


def known_login() -> str:
    """The login of the server that `up` started here; empty if this user does not know one.

    Raises:
        UserError: the file is damaged, or could have been written by another user.
    """
    return _read() or os.environ.get(SERVER_VARIABLE, "")


def forget_login() -> None:
    """Delete the file; the next server gets a new login."""
    LOGIN_FILE.unlink(missing_ok=True)


def entrance(page: str) -> str:
    """The address at which a browser gets the random login and is led to `page`; `page` itself for a login of the user's."""
    login = _read()
    return f"{page}{ENTRANCE}#{base64.b64encode(login.encode()).decode()}" if login else page


def _read() -> str:
    content = read_private(LOGIN_FILE)
    if content is None:
        return ""
    login = content.decode("ascii", "replace").strip()
    if not FORM.fullmatch(login):
        raise UserError(f"{LOGIN_FILE}: not a login", "Delete it, then type `labelfactory down` and `labelfactory up`.")
    return login
