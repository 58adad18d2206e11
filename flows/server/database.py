"""PostgreSQL for the server and for MLflow: one database, a schema for each, and no password in any file.

They cannot share a schema: both have a table `alembic_version`.
"""

from dataclasses import dataclass

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from labelfactory.errors import ParamsError, UserError

SERVER_SCHEMA, TRACKING_SCHEMA = "prefect", "mlflow"
FORM = "Write postgresql://USER@HOST:5432/NAME; the password comes from PGPASSWORD or ~/.pgpass."
PASSWORD_VARIABLE = "PGPASSWORD"
"""Read by both drivers, libpq and asyncpg."""


@dataclass(frozen=True)
class Database:
    """One database; its address may contain a password, which is never shown."""

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
        """Environment with the password, if the address contains one."""
        return {PASSWORD_VARIABLE: str(self.address.password)} if self.address.password else {}

    def server(self) -> dict[str, str]:
        """Environment of Prefect's server, without the password."""
        query = {"ssl" if name == "sslmode" else name: value for name, value in self.address.query.items()}
        url = self._bare().set(drivername="postgresql+asyncpg", query=query)
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": url.render_as_string(),
            # public: may have the extension pg_trgm, which the server needs
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": f"{SERVER_SCHEMA}, public",
        }

    def _bare(self) -> URL:
        """The address without its password, which `URL.set` cannot remove."""
        url = self.address
        return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)

    def prepare(self) -> None:
        """Create the two schemas if they are missing.

        Raises:
            UserError: no driver, no answer, or no permission.
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
            reason = " ".join(str(error.orig).split())
            remedy = f"Start PostgreSQL, and give the user a database of its own. {FORM}"
            raise UserError(f"{self.shown}: {reason}", remedy) from None
        finally:
            engine.dispose()


def read_database(address: str) -> Database:
    """The database at an address such as postgresql://USER@HOST:5432/NAME.

    Raises:
        ParamsError: the address is wrong; the message does not repeat it, since it may contain a password.
    """
    try:
        url = make_url(address.replace("postgres://", "postgresql://", 1))
        kind = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ParamsError("--database: not the address of a database", FORM) from None
    if kind != "postgresql":
        raise ParamsError(f"--database: {kind} is not PostgreSQL", f"{FORM} Without --database, SQLite is used.")
    if said := url.query.get("password"):  # libpq takes it there too
        url = url.set(password=said if isinstance(said, str) else said[-1]).difference_update_query(["password"])
    if secret := next((name for name in url.query if "password" in name.lower()), ""):
        raise ParamsError(f"--database: {secret} would be written to files", f"Leave it out of the address. {FORM}")
    if not url.database:
        raise ParamsError("--database: the address names no database", FORM)
    return Database(url.set(drivername="postgresql"))
