import pytest
import ray

from anomalyclip.cluster import connect
from anomalyclip.errors import UsageError


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bool]]:
    """The nodes of a cluster that this process has joined."""
    found: list[dict[str, bool]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: found)
    return found


def test_an_sqlite_file_is_refused_once_there_are_several_nodes(nodes: list[dict[str, bool]]) -> None:
    nodes += [{"Alive": True}, {"Alive": False}]
    connect("sqlite:////x/mlflow.db")
    nodes += [{"Alive": True}]
    with pytest.raises(UsageError, match=r"2 nodes cannot share sqlite:////x/mlflow\.db: .*--tracking-uri"):
        connect("sqlite:////x/mlflow.db")
    connect("http://server")
    connect()


def test_a_cluster_that_is_joined_is_used_as_it_is(
    nodes: list[dict[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("joined again"))
    connect()
