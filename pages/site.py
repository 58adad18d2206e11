"""The site: an address for each page, its template, and errors that say what to type."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from labelfactory.digests import digest_bytes
from labelfactory.errors import MissingError, UserError
from labelfactory.http_server import LOOPBACK
from pages.diff_page import SIDES, diff_page, diff_picture, diff_pixels
from pages.drawing import bar, breakable, short
from pages.guard import Guard
from pages.image_query import ImageQuery
from pages.images_page import image_page, images_page, pixel
from pages.layers import NAMES
from pages.line_page import REPORT, line_page, line_state, scores_on_disk
from pages.links import PAGES, image_link, model_link
from pages.models_page import model_page, models_page
from pages.project import Project
from pages.tournament import HEADERS as TOURNAMENT_HEADERS
from pages.tournament import tournament_page
from reporting.formats import duration, memory, percent, with_code
from reporting.tournament_file import REPORT as TOURNAMENT_REPORT

HERE = Path(__file__).parent
STATIC = {
    "report.css": (HERE.parent / "reporting" / "report.css", "text/css"),
    "pages.css": (HERE / "pages.css", "text/css"),
    "pages.js": (HERE / "pages.js", "text/javascript"),
}
"""The only files that are served as they are: by name, from here."""
REPORT_OF_BEFORE = (
    '<div class="notes" role="note" style="margin: 16px"><strong>This report is of earlier outputs.</strong> {}</div>'
)
"""What a report begins with, where the outputs that it is of are not those on disk."""
KEEP = "private, max-age=31536000, immutable"
"""For our own style and script, whose addresses have a digest in them. Never for pictures, which may be withdrawn."""
ASK_AGAIN = "private, no-cache"
"""For pictures: a browser may keep one, and shows it only if the server answers that it is still so."""
NEVER = {"cache-control": "no-store"}


def make_site(project: Project, *, hosts: tuple[str, ...] = LOOPBACK, token: str = "") -> Guard:
    """The application that a server runs.

    Args:
        project: what the pages read.
        hosts: names under which the server may be called; empty for any.
        token: what visitors have to bring; empty for nothing.
    """
    static = {name: (path.read_bytes(), kind) for name, (path, kind) in STATIC.items()}
    show = _Renderer(digest_bytes(b"".join(body for body, _ in static.values()))[:12])
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    _say_what_is_wrong(app, show)
    _add_pages(app, project, show)
    _add_pieces(app, project, show)
    _add_pictures(app, project)
    _add_files(app, project, static)
    return Guard(app, hosts, token)


def _say_what_is_wrong(app: FastAPI, show: "_Renderer") -> None:
    """Errors as pages, or as pieces of one."""

    @app.exception_handler(UserError)
    def explain(request: Request, error: UserError) -> Response:
        """What a user can mend, on a page or as a piece of one."""
        status = 404 if isinstance(error, MissingError) else 409
        if request.url.path.startswith("/picture") or request.url.path.endswith("/picture"):
            return Response(str(error), status, NEVER, "text/plain")
        return show("error_piece.jinja" if _is_piece(request) else "error.jinja", {"error": error}, status)

    @app.exception_handler(HTTPException)
    def no_page(request: Request, error: HTTPException) -> Response:
        """An address that leads nowhere."""
        return show("error.jinja", {"error": UserError("there is no such page")}, error.status_code)


def _add_pages(app: FastAPI, project: Project, show: "_Renderer") -> None:
    """What a person opens."""

    @app.get("/")
    def line() -> Response:
        return show("line.jinja", line_page(project))

    @app.get("/images")
    def images(request: Request) -> Response:
        return show("images.jinja", images_page(project, ImageQuery.from_query(request.query_params)))

    @app.get("/image")
    def image(request: Request, id: str = "") -> Response:
        query = request.query_params
        return show("image.jinja", image_page(project, id, ImageQuery.from_query(query), query))

    @app.get("/models")
    def models() -> Response:
        return show("models.jinja", models_page(project))

    @app.get("/models/{name}/{version}")
    def model(name: str, version: str) -> Response:
        if not (version.isascii() and version.isdigit() and len(version) < 10):
            raise MissingError("the ledger knows no such model", "Choose one on the page Models.")
        return show("model.jinja", model_page(project, name, int(version)))

    @app.get("/diff")
    def diff(a: str = "", b: str = "") -> Response:
        return show("diff.jinja", diff_page(project, a, b))


def _add_pieces(app: FastAPI, project: Project, show: "_Renderer") -> None:
    """What goes into a page that is open already."""

    @app.get("/state")
    def state() -> Response:
        return show("line_state.jinja", line_state(project))

    @app.get("/image/pixel")
    def why(id: str = "", x: str = "", y: str = "") -> Response:
        if not all(text.isascii() and text.isdigit() and len(text) < 7 for text in (x, y)):
            raise UserError("a pixel is two whole numbers, x and y", "Both are counted from 0, at the top left.")
        return show("pixel.jinja", {"why": pixel(project, id, int(x), int(y))})

    @app.get("/diff/pixels")
    def pixels(a: str = "", b: str = "") -> Response:
        return show("diff_pixels.jinja", diff_pixels(project, a, b))


def _add_pictures(app: FastAPI, project: Project) -> None:
    """What a page draws."""

    @app.get("/picture/{name}")
    def layer(request: Request, name: str, id: str = "") -> Response:
        if not NAMES.fullmatch(name):
            raise MissingError("there is no such picture")
        return _picture(request, *project.picture(name, project.row(id)))

    @app.get("/diff/picture")
    def change(request: Request, a: str = "", b: str = "", id: str = "", side: str = "") -> Response:
        if side not in SIDES:
            raise MissingError("there is no such picture")
        return _picture(request, *diff_picture(project, a, b, id, side))


def _picture(request: Request, body: bytes, kind: str) -> Response:
    """A picture, or 304 where the browser has this very one."""
    tag = f'"{digest_bytes(body)[:32]}"'
    headers = {"cache-control": ASK_AGAIN, "etag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


def _add_files(app: FastAPI, project: Project, static: Mapping[str, tuple[bytes, str]]) -> None:
    """What is there as it is: both reports, and the pages' own style and script."""

    @app.get("/report")
    def report() -> Response:
        if not REPORT.exists():
            raise MissingError("there is no report yet", "Type `labelfactory run`.")
        if project.report_shows_withdrawn():
            raise MissingError(
                "the report shows images that are withdrawn, or may show them",
                "Type `labelfactory run`: it makes another one.",
            )
        own = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
        text, why_not = REPORT.read_text(encoding="utf-8", errors="replace"), scores_on_disk(project).why_not
        body = text.replace("<body>", f"<body>\n{REPORT_OF_BEFORE.format(with_code(why_not))}", 1) if why_not else text
        return HTMLResponse(body.encode("utf-8", "replace"), headers={"content-security-policy": own, **NEVER})

    @app.get("/tournament")
    def tournament() -> Response:
        body = tournament_page(project).encode("utf-8", "replace")
        return HTMLResponse(body, headers={**TOURNAMENT_HEADERS, **NEVER})

    @app.get("/static/{name}")
    def asset(name: str) -> Response:
        if name not in static:
            raise MissingError("there is no such file")
        body, kind = static[name]
        return Response(body, media_type=kind, headers={"cache-control": KEEP})


def _is_piece(request: Request) -> bool:
    """Whether the answer goes into a page that is open already."""
    return request.url.path in ("/state", "/image/pixel", "/diff/pixels")


class _Renderer:
    """Templates, filled: everything that comes from data is escaped."""

    def __init__(self, version: str) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = {"percent": percent, "duration": duration, "memory": memory, "moment": moment}
        filters |= {"short": short, "breakable": breakable, "with_code": with_code}
        self._environment.filters |= filters
        self._environment.globals |= {
            "version": version,
            "bar": bar,
            "image_link": image_link,
            "model_link": model_link,
            "folder": Path.cwd().name,
            "navigation": PAGES,
            "has_tournament": TOURNAMENT_REPORT.exists,
        }

    def __call__(self, name: str, context: Mapping[str, Any], status: int = 200) -> Response:
        page = self._environment.get_template(name).render(context)
        body = page.encode("utf-8", "replace")  # an id may hold half a character
        return HTMLResponse(body, status, headers=NEVER)


def moment(time: datetime | None) -> str:
    """A time as a person here reads it."""
    return f"{(time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone():%Y-%m-%d %H:%M}" if time else "–"
