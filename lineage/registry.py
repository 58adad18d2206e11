"""The registry of MLflow: versions of the model that people use, with the numbers that the ledger gives them."""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException

from lineage.outbox import Letter

ID = "labelfactory.id"
"""Tag of every run, logged model and version: the id of its letter."""


class Registry:
    """The versions of one registered model.

    Args:
        client: of MLflow.
        experiment: id of the experiment in which models are logged.
        name: of the registered model.
    """

    def __init__(self, client: MlflowClient, experiment: str, name: str) -> None:
        self._client, self._experiment, self._name = client, experiment, name

    def add(self, model: LoggedModel, run: str, letter: Letter) -> None:
        """Make a version with the ledger's number. In a registry that has lost all versions, those before it come first.

        Args:
            model: as it was logged.
            run: id of the run that trained it.
            letter: of the model.

        Raises:
            MlflowException: the registry has another number for it.
        """
        if self._version(letter.id) is not None:
            return
        number = int(letter.detail["version"])
        try:
            self._client.create_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        taken = [int(v.version) for v in self._client.search_model_versions(f"name = '{self._name}'")]
        given = max(taken, default=0)
        if given < number:
            for earlier in range(1, number) if not taken else ():
                self._create_again(earlier)
            given = self._create_version(model, run, letter.id)
            if given == number:
                return
            self._client.delete_model_version(self._name, str(given))
        raise MlflowException(
            f"the registry is at {self._name} {given}, the ledger at {number}: delete the registered model "
            f"{self._name} in MLflow, then type `labelfactory record` and `labelfactory promote`"
        )

    def _create_version(self, model: LoggedModel, run: str, id: str) -> int:
        """A version of the registered model; gives its number."""
        made = self._client.create_model_version(
            self._name, model.artifact_location, run, {ID: id}, model_id=model.model_id
        )
        return int(made.version)

    def _create_again(self, number: int) -> None:
        """The version of that number, of the model that was logged under it; nothing where there is none."""
        name = f"name = '{self._name}-{number}'"
        for model in self._client.search_logged_models([self._experiment], name, max_results=1):
            if model.tags.get(ID) and model.source_run_id:
                self._create_version(model, model.source_run_id, model.tags[ID])

    def promote(self, digest: str, alias: str) -> None:
        """Give a model's version an alias. Raises MlflowException: it has none."""
        version = self._version(digest)
        if version is None:
            raise MlflowException(f"the registry has no version of the model {digest}")
        self._client.set_registered_model_alias(self._name, alias, version)

    def mark(self, digest: str, tags: Mapping[str, str]) -> None:
        """Put tags on a model's version, if it has one."""
        version = self._version(digest)
        for name, value in tags.items() if version is not None else ():
            self._client.set_model_version_tag(self._name, version, name, value)

    def _version(self, digest: str) -> str | None:
        versions = self._client.search_model_versions(f"name = '{self._name}'")
        return next((str(v.version) for v in versions if v.tags.get(ID) == digest), None)
