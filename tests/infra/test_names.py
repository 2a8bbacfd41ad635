"""Every environment variable and every file that `infra/` names is known to what reads it."""

import re
from functools import cache
from importlib.metadata import files
from pathlib import Path

import mlflow.cli
import pytest

from tests.infra.programs import INFRA, ROOT

FILES = sorted(file for file in INFRA.rglob("*") if file.is_file())
OTHERS = {
    "AWS_ACCESS_KEY_ID": "botocore", "AWS_SECRET_ACCESS_KEY": "botocore", "AWS_ENDPOINT_URL": "botocore",
    "AWS_REGION": "pyarrow and botocore, by the SDKs' own chain",
    "GIT_PYTHON_REFRESH": "GitPython", "HOME": "Python", "PATH": "the system", "MPLCONFIGDIR": "Matplotlib",
    "TOKENIZERS_PARALLELISM": "tokenizers", "PYTHONDONTWRITEBYTECODE": "Python", "PYTHONUNBUFFERED": "Python",
    "PIP_DISABLE_PIP_VERSION_CHECK": "pip", "PIP_NO_CACHE_DIR": "pip",
    "PGPASSFILE": "libpq", "PGPASSWORD": "libpq",
    "POSTGRES_DB": "PostgreSQL's image", "POSTGRES_PASSWORD_FILE": "PostgreSQL's image",
    "POSTGRES_USER": "PostgreSQL's image",
    "MINIO_ROOT_PASSWORD_FILE": "the object store's image", "MINIO_ROOT_USER_FILE": "the object store's image",
    "RAY_HEAD": "anomalyclip-ray-worker.service", "RAY_HEAD_IP": "Ray's cluster launcher",
    "TORCH_INDEX": "the Dockerfile",
}  # fmt: skip
"""Variables that are neither ours nor found in the sources of Ray and MLflow, and what reads them."""
NO_VARIABLES = {"SHA256SUMS", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX", "MMAP_SHM"}


def variables(text: str) -> set[str]:
    """Return the words that look like environment variables: capitals with an underscore, or assigned ones."""
    assigned = re.findall(r"(?:Environment=|ENV |export |^\s+|^)([A-Z][A-Z0-9]+)[=:](?=[^\s=])", text, re.MULTILINE)
    return {*re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text), *assigned} - NO_VARIABLES


@cache
def _ours() -> str:
    return "".join(file.read_text() for file in (ROOT / "anomalyclip").rglob("*.py"))


@cache
def _of_ray() -> set[str]:
    sources = (file for file in files("ray") or () if file.suffix == ".py" and file.parts[1] in ("_common", "_private"))
    return {name for file in sources for name in re.findall(r"\bRAY_\w+", Path(str(file.locate())).read_text())}


@cache
def _of_mlflow() -> set[str]:
    options = {parameter.envvar for parameter in mlflow.cli.server.params if isinstance(parameter.envvar, str)}
    named = {name for name in dir(mlflow.environment_variables) if name.startswith("MLFLOW_")}
    return options | named


def known(name: str) -> bool:
    """Whether something reads an environment variable."""
    if name.startswith("ANOMALYCLIP_"):
        return re.search(rf"\b{name}\b", _ours()) is not None
    return name in OTHERS or name in _of_ray() or name in _of_mlflow()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(INFRA)))
def test_every_variable_is_read_by_something(file: Path) -> None:
    assert [name for name in variables(file.read_text()) if not known(name)] == []


@pytest.mark.parametrize("name", ["ANOMALYCLIP_STORE", "RAY_AUTH_TOKENS", "MLFLOW_TRACKING_URL", "AWS_REGIONS"])
def test_a_variable_that_nothing_reads_is_seen(name: str) -> None:
    assert variables(f"export {name}=1") == {name}
    assert not known(name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(INFRA)))
def test_every_file_of_the_project_that_is_named_exists(file: Path) -> None:
    named = re.findall(r"(?<![\w/.])((?:anomalyclip|docs|infra|tests|tuning|workflows)/[\w./-]*\w)", file.read_text())
    assert [path for path in named if not (ROOT / path).exists() and not path.startswith("infra/secrets")] == []


def test_every_variable_of_the_list_is_used() -> None:
    used = {name for file in FILES for name in variables(file.read_text())}
    assert OTHERS.keys() - used == set()


def test_every_file_has_a_check() -> None:
    checked = {
        "Dockerfile", "compose.yaml", "ray-cluster.yaml", "runtime_env.yaml", "backup.sh", "restore.sh",
        "prometheus/prometheus.yaml", "prometheus/rules.yaml", "grafana/dashboard.json", "systemd/environment.example",
    }  # fmt: skip
    found = {str(file.relative_to(INFRA)) for file in FILES}
    assert checked <= found
    others = {
        name for name in found - checked if not re.match(r"kuberay/.+\.yaml|systemd/.+\.(service|timer|conf)", name)
    }
    assert others == set(), "write a test for it in tests/infra"
