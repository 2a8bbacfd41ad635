import contextlib
import inspect
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import ray_constants, utils, worker

from anomalyclip import cluster
from anomalyclip.cluster import connect, processes_per_node, reason, threads
from anomalyclip.errors import JobError, UsageError


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bool]]:
    """The nodes of a cluster that this process has joined."""
    found: list[dict[str, bool]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: found)
    return found


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """The addresses that Ray was started or joined with; no cluster is known, and none has been joined."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(ray, "init", lambda *address, **_: calls.append(address))
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    closed = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    for name in ("RAY_ADDRESS", cluster.NICENESS, closed, "RAY_gcs_server_port_wait_time_s"):
        monkeypatch.setenv(name, "")  # so that what `connect` sets is undone
        monkeypatch.delenv(name)
    return calls


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that accepts connections; whether anything answers on it is up to the test."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def dead(listener: socket.socket) -> str:
    """An address at which nothing listens any more."""
    listener.close()
    with socket.create_server(("127.0.0.1", 0)) as server:
        return address_of(server)


@pytest.fixture
def answering(listener: socket.socket) -> str:
    """An address at which one connection is waited for and answered, as a gRPC server does."""

    def answer() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.sendall(bytes(9))

    threading.Thread(target=answer, daemon=True).start()
    return address_of(listener)


def leave_behind(address: str) -> None:
    """Write what `ray start` leaves behind."""
    folder = Path(os.environ["RAY_TMPDIR"]) / "ray"
    folder.mkdir()
    (folder / "ray_current_cluster").write_text(address)


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
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("joined again"))
    connect()


def test_what_ray_pushes_to_drivers_does_not_reach_standard_output(
    started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    connect()
    assert "print_to_stdstream(" in inspect.getsource(worker.listen_error_messages)  # else Ray has moved it
    worker.print_to_stdstream({"lines": ["a node died"], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert capsys.readouterr().out == ""


def test_without_a_cluster_ray_starts_here_and_its_workers_keep_their_priority(started: list[Any]) -> None:
    connect()
    assert (started, os.environ[cluster.NICENESS]) == ([("local",)], "0")


def test_a_priority_that_was_asked_for_is_kept(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cluster.NICENESS, "5")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    connect()
    assert (started, os.environ[cluster.NICENESS]) == ([("local",)], "5")


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_refused(
    started: list[Any], dead: str, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", prefix + dead)
    with pytest.raises(UsageError, match=rf"^no Ray cluster answers at {prefix}{dead} .*unset RAY_ADDRESS$"):
        connect()
    assert started == []


def test_a_head_that_is_stopped_is_refused_although_its_port_is_open(
    started: list[Any], listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address_of(listener))
    with pytest.raises(UsageError, match="no Ray cluster answers"):
        connect()


def test_an_address_that_is_none_is_refused(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head")
    with pytest.raises(UsageError, match="no Ray cluster answers at head "):
        connect()


def test_a_dead_cluster_that_ray_start_left_behind_is_ignored(started: list[Any], dead: str) -> None:
    leave_behind(dead)
    connect()
    assert started == [("local",)]


def test_a_cluster_of_ray_start_that_answers_is_joined(started: list[Any], answering: str) -> None:
    leave_behind(answering)
    connect()
    assert (started, cluster.NICENESS in os.environ) == ([()], False)
    assert ray_constants.ENABLE_RAY_CLUSTER  # a node of a cluster has an address that others reach


@pytest.mark.parametrize(
    "error, cause, complaint",
    [
        (
            ConnectionError("Failed to connect"),
            RuntimeError(
                "Failed.\nTraceback\nray.exceptions.AuthenticationError: RPC error: Authentication token is missing"
            ),
            r"it wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN if ",
        ),
        (
            RuntimeError("Token authentication is enabled but Ray couldn't find an authentication token. Create"),
            None,
            r"it wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN if ",
        ),
        (
            RuntimeError("InvalidAuthToken: Authentication token is missing or incorrect"),
            None,
            r"it wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN if ",
        ),
        (
            ConnectionError("Failed to connect"),
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.54.0\n    Python: 3.12.1\nThis"),
            r"Version mismatch: The cluster was started with: Ray: 2\.54\.0 Python: 3\.12\.1 This; "
            "use the same Python and Ray here and on all nodes$",
        ),
        (ConnectionError("Could not\nfind any"), None, "find any$"),
    ],
)
def test_why_a_cluster_cannot_be_joined_is_one_line(
    started: list[Any], answering: str, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: Exception | None,
    complaint: str,
) -> None:  # fmt: skip
    def refuse(**_: Any) -> None:
        raise error from cause

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", answering)
    with pytest.raises(UsageError, match=rf"^cannot join the Ray cluster at {answering}: {complaint}"):
        connect()


def test_a_ray_that_does_not_start_is_one_line(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise Exception("Traceback\nThe current node timed out during startup.")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(JobError, match=r"^Ray does not start on this machine: The current node timed out during star"):
        connect()


WORKER = "ray::MapWorker()\n  File x\nanomalyclip.errors.JobError: the disk is full"
WRAPPED = "\n\nThe above exception was the direct cause of the following exception:\n\n"


@pytest.mark.parametrize(
    "text",
    [
        WORKER,
        f"{WORKER}{WRAPPED}ray::MapWorker()\nray.exceptions.UserCodeException: UDF failed to process.\nTo change retry",
        f"OSError: No space left on device{WRAPPED}{WORKER}",
    ],
)
def test_the_reason_of_an_error_is_the_workers_own_last_line(text: str) -> None:
    assert reason(RuntimeError(text)) == "anomalyclip.errors.JobError: the disk is full"


def test_an_error_without_text_has_its_name_as_reason() -> None:
    assert reason(ValueError()) == "ValueError"
    assert len(reason("x" * 1000)) == 500


def test_threads_come_from_the_cpus_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert [threads(processes) for processes in (1, 2, 4, 7)] == [6, 3, 1, 1]


def test_workers_are_shared_out_over_the_nodes(nodes: list[dict[str, bool]]) -> None:
    nodes += [{"Alive": True}, {"Alive": True}, {"Alive": False}]
    assert [processes_per_node(workers) for workers in (1, 2, 3)] == [1, 1, 2]


@pytest.mark.parametrize("gpus, asked, expected", [(0, None, 2), (3, None, 3), (3, 5, 5)])
def test_extraction_has_a_worker_per_gpu_or_else_per_node(
    nodes: list[dict[str, bool]], monkeypatch: pytest.MonkeyPatch, gpus: int, asked: int | None, expected: int
) -> None:
    nodes += [{"Alive": True}, {"Alive": True}]
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0} | ({"GPU": float(gpus)} if gpus else {}))
    assert cluster.extraction_workers(asked) == expected


@pytest.mark.parametrize(
    "asked, gpus, cpus, expected", [(None, 0, 16, 2), (None, 2, 32, 16), (None, 1, 1, 2), (3, 2, 32, 3)]
)
def test_a_worker_with_a_gpu_decodes_on_its_share_of_the_cpus(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, gpus: int, cpus: int, expected: int
) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": float(cpus), "GPU": float(gpus)})
    assert cluster.decode_processes(asked, max(1, gpus)) == expected


@pytest.mark.parametrize(
    "gpus, workers, used, warned", [(0, 2, False, False), (1, 2, False, True), (2, 2, True, False)]
)
def test_training_uses_gpus_if_every_worker_gets_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, gpus: int, workers: int, used: bool, warned: bool
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": float(gpus)})
    assert cluster.trains_on_gpus(workers) is used
    assert ("set training.workers=1" in caplog.text) is warned


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_a_workers_threads_follow_its_share_of_ray_and_never_exceed_its_cpus() -> None:
    def count(cpus: float, processes: int, allowed: int) -> int:
        def inside() -> int:
            os.sched_getaffinity = lambda _: set(range(allowed))  # the machine's own would decide otherwise
            return threads(processes)

        return int(ray.get(ray.remote(num_cpus=cpus, max_calls=1)(inside).remote()))

    assert count(0.9, processes=1, allowed=64) == 4  # all that Ray may give out on the node
    assert count(0.9, processes=2, allowed=64) == 2
    assert count(2.7, processes=1, allowed=64) == 3
    assert count(3, processes=1, allowed=2) == 2
    assert count(0.9, processes=1, allowed=3) == 3
    assert threads(2) == max(1, min(4, len(os.sched_getaffinity(0))) // 2)


@pytest.mark.cluster
def test_a_local_ray_starts_beside_what_a_dead_cluster_left_behind_and_is_closed_to_others(dead: str) -> None:
    program = (
        "import os, psutil, ray; from anomalyclip.cluster import connect; connect(); "
        "print(len(ray.nodes()), os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote())); "
        "own = psutil.Process(); "
        "found = [c for p in [own, *own.children(True)] for c in p.net_connections() if c.status == 'LISTEN']; "
        "print(*{c.laddr.ip for c in found})"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="r-", ignore_cleanup_errors=True) as folder:  # Ray's paths must be short
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray/ray_current_cluster").write_text(dead)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
            env=environment | {"RAY_TMPDIR": folder},
        )  # fmt: skip
    answer, listening = done.stdout.splitlines()
    nodes, own, workers = map(int, answer.split())
    assert (nodes, workers) == (1, own)
    assert set(listening.split()) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}  # nobody else may reach its ports


def test_the_room_for_workers_is_that_of_the_nodes_that_are_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"Alive": True, "NodeID": "a", "NodeManagerAddress": "1", "Resources": {"CPU": 3.0, "GPU": 1.0}},
        {"Alive": True, "NodeID": "b", "NodeManagerAddress": "2", "Resources": {"CPU": 1.8}},
        {"Alive": False, "NodeID": "c", "NodeManagerAddress": "3", "Resources": {}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert [cluster.room(cpus) for cpus in (1.0, 0.9, 0.6, 4.0)] == [4, 5, 8, 0]
    assert (cluster.room(1.0, gpus=1), cluster.lost_nodes()) == (1, {"c": "3"})


def test_the_end_that_the_program_has_set_holds_while_ray_starts() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own)
    try:
        with cluster._same_end():
            utils.set_sigterm_handler(lambda *_: sys.exit(15))  # as ray.init does first
            assert signal.getsignal(signal.SIGTERM) is own
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as its library does later
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
