"""PostgreSQL for the server and for MLflow: one database, a schema for each, and no password in any file.

Both name their tables as they like, and both keep an `alembic_version`, so they cannot share a schema.
"""

from dataclasses import dataclass

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from labelfactory.errors import ParamsError, UserError

SERVER_SCHEMA, TRACKING_SCHEMA = "prefect", "mlflow"
FORM = "Write postgresql://USER@HOST:5432/NAME; the password comes from PGPASSWORD or ~/.pgpass."
PASSWORD_VARIABLE = "PGPASSWORD"
"""What both drivers, libpq's and asyncpg, read."""


@dataclass(frozen=True)
class Database:
    """One database; its address may hold a password, and nothing here shows it."""

    address: URL

    def __repr__(self) -> str:
        return self.shown

    @property
    def shown(self) -> str:
        """The address without its password."""
        return self._bare().render_as_string()

    @property
    def tracking(self) -> str:
        """MLflow's address, without the password."""
        search = {"options": f"-csearch_path={TRACKING_SCHEMA}"}
        return self._bare().update_query_dict(search).render_as_string()

    def password(self) -> dict[str, str]:
        """Environment in which the password is found, where the address holds one."""
        return {PASSWORD_VARIABLE: str(self.address.password)} if self.address.password else {}

    def server(self) -> dict[str, str]:
        """Environment of Prefect's server, which is to find the password there too."""
        query = {"ssl" if name == "sslmode" else name: value for name, value in self.address.query.items()}
        url = self._bare().set(drivername="postgresql+asyncpg", query=query)
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": url.render_as_string(),
            # public: an administrator may have put the extension pg_trgm there, which the server needs
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": f"{SERVER_SCHEMA}, public",
        }

    def _bare(self) -> URL:
        """The address without its password; `URL.set` takes a password of None for no wish."""
        held = self.address
        return URL.create(held.drivername, held.username, None, held.host, held.port, held.database, held.query)

    def prepare(self) -> None:
        """Make the two schemas, if they are not there.

        Raises:
            UserError: no driver, nobody answers, or the user may not do it.
        """
        try:
            engine = create_engine(self.address.set(drivername="postgresql+psycopg2"))
        except ModuleNotFoundError as error:
            raise UserError(
                f"PostgreSQL's driver cannot be loaded ({error})",
                "Type `pip install -c constraints.txt -e '.[postgres]'`.",
            ) from None
        try:
            with engine.begin() as connection:
                for schema in (SERVER_SCHEMA, TRACKING_SCHEMA):
                    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            remedy = f"Start PostgreSQL, and give the user a database of its own. {FORM}"
            raise UserError(f"{self.shown}: {said}", remedy) from None
        finally:
            engine.dispose()


def read_database(address: str) -> Database:
    """The database at an address such as postgresql://USER@HOST:5432/NAME.

    Raises:
        ParamsError: it is none; the message does not repeat it, since it may hold a password.
    """
    try:
        url = make_url(address.replace("postgres://", "postgresql://", 1))
        kind = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ParamsError("--database: that is no database's address", FORM) from None
    if kind != "postgresql":
        raise ParamsError(f"--database: {kind} is not PostgreSQL", f"{FORM} Without --database, SQLite is used.")
    if not url.database:
        raise ParamsError("--database: the address names no database", FORM)
    return Database(url.set(drivername="postgresql"))
