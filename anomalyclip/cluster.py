"""Ray cluster of a job: joining or starting it, its devices, workers and threads, and its errors in one line."""

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants, utils, worker
from ray._private.services import find_bootstrap_address
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from anomalyclip.errors import JobError, UsageError

log = logging.getLogger("anomalyclip")

ANSWER_SECONDS = 5.0
"""Time in which a cluster must answer before it is joined; on its own, Ray would try for minutes."""
JOIN_TRIES = "1"
MOST_DECODERS = 32
"""Per GPU; each takes 0.1 GB and two batches of frames."""
NICENESS = "RAY_worker_niceness"
_TEXTS = b"anomalyclip"
_WRAPPED = "\n\nThe above exception was the direct cause of the following exception:"


def connect(tracking_uri: str = "") -> None:
    """Join the cluster of `RAY_ADDRESS` or of `ray start` on this machine, else start Ray on this machine alone.

    Output of workers stays in Ray's own logs. Raises UsageError if the cluster does not answer or refuses this
    process, or if several nodes would share an SQLite database; JobError if Ray does not start.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its lines on standard error are not for users
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for workers: busy waiting starves beside other programs
    quieten()
    # standard output is for the result: Ray prints there a node's last words, of 25 lines, at any time
    worker.print_to_stdstream = _heard
    if not ray.is_initialized():
        with _same_end():
            _join_or_start()
    nodes = _alive_nodes()
    if nodes > 1 and tracking_uri.startswith("sqlite:"):
        raise UsageError(f"{nodes} nodes cannot share {tracking_uri}: start an MLflow server and give --tracking-uri")


def is_own() -> bool:
    """Return whether Ray runs on this machine alone, once it is started, because there is no cluster to join."""
    asked = os.environ.get("RAY_ADDRESS", "")
    return not ray.is_initialized() and (asked == "local" or (not asked and find_bootstrap_address(None) is None))


def quieten() -> None:
    """Keep Ray's libraries from logging beside us: failures are reported in one line.

    Importing `ray.data` undoes this, so code that uses it calls this again.
    """
    for library in ("ray.data", "ray.tune"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def restore_interrupt() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again after a library has installed its own handler."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _heard(message: Mapping[str, Any], ignore_prefix: bool) -> None:
    log.debug("Ray: %s", message["lines"])


@contextmanager
def _same_end() -> Iterator[None]:
    """Keep the handler of SIGTERM that the program has set, also while Ray starts.

    Ray's own ends the program without a line, and with an exit code of its own.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    its_own = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = its_own
        # its library has one besides, which aborts, and of which Python knows nothing
        signal.signal(signal.SIGTERM, before)


def reason(error: BaseException | str) -> str:
    """Return the cause of an error of a process of the cluster, one line.

    Ray gives the traceback of a worker as text, and Ray Data another one of its own after it.
    """
    parts = [part.strip() for part in str(error).split(_WRAPPED) if "UserCodeException: " not in part]
    lines = parts[-1].splitlines() if parts else []
    return lines[-1].strip()[-500:] if lines else type(error).__name__


def gpus() -> int:
    """Return the number of GPUs of the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def extraction_workers(asked: int | None) -> int:
    """Return the number of extraction workers asked for; by default one per GPU, without GPUs one per node."""
    return asked or gpus() or max(1, _alive_nodes())


def decode_processes(asked: int | None, workers: int) -> int:
    """Return the number of videos that an extraction worker decodes at a time: a GPU takes what all its CPUs decode."""
    cpus = int(ray.cluster_resources().get("CPU", 0)) // workers
    return asked or (min(MOST_DECODERS, max(2, cpus)) if gpus() else 2)


def trains_on_gpus(workers: int) -> bool:
    """Return whether data-parallel workers get a GPU each; logs a warning if there are GPUs, but too few."""
    found = gpus()
    if 0 < found < workers:
        log.warning("%d GPUs for %d workers: training on CPUs; set training.workers=%d", found, workers, found)
    return found >= workers


def processes_per_node(workers: int) -> int:
    """Return how many of the cluster's workers share a node."""
    return math.ceil(workers / max(1, _alive_nodes()))


def threads(processes: int = 1) -> int:
    """Return the number of threads, at least 1, for this process, one of `processes` at work on this node.

    A worker for which Ray sets aside a CPU or more gets a thread per CPU. Less than one CPU (`cpus_per_worker`) only
    lets small machines schedule it: then the processes share the node. In both cases no more than the CPUs on which
    this process may run: `os.cpu_count()` counts those of the machine, also inside a container.
    """
    allowed = len(os.sched_getaffinity(0))
    if not ray.is_initialized():
        return max(1, allowed // processes)
    context = ray.get_runtime_context()
    assigned = 0.0 if context.worker.mode == ray.SCRIPT_MODE else context.get_assigned_resources().get("CPU", 0.0)
    if assigned >= 1:
        return min(allowed, math.ceil(assigned))
    node = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    return max(1, min(allowed, int(node["Resources"].get("CPU", allowed))) // processes)


def room(cpus: float, gpus: int = 0) -> int:
    """Return how many workers with so many CPUs and GPUs each the nodes of the cluster can hold, were they free."""
    return sum(_room(node["Resources"], cpus, gpus) for node in ray.nodes() if node["Alive"])


def node() -> str:
    """Return the address of the node that this process works on."""
    return str(ray.util.get_node_ip_address())


def lost_nodes() -> dict[str, str]:
    """Return the names of the nodes that the cluster has lost since it was started, by their ids."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if not node["Alive"]}


def tell(name: str, text: str) -> None:
    """Leave a text for another process of the cluster, which `told` gives to it."""
    _internal_kv_put(name, text.encode(), namespace=_TEXTS)


def told(name: str) -> str | None:
    """Return the latest text that was left under a name, once; None if there is none."""
    text: bytes | None = _internal_kv_get(name, namespace=_TEXTS)
    if text is None:
        return None
    _internal_kv_del(name, namespace=_TEXTS)
    return text.decode()


def _room(resources: Mapping[str, float], cpus: float, gpus: int) -> int:
    by_cpus = math.floor(resources.get("CPU", 0.0) / cpus + 1e-9)
    return min(by_cpus, math.floor(resources.get("GPU", 0.0) / gpus)) if gpus else by_cpus


def _alive_nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _join_or_start() -> None:
    asked = os.environ.get("RAY_ADDRESS", "")
    address = find_bootstrap_address(None) if asked in ("", "auto") else asked
    answers = address not in (None, "local") and _answers(address)
    if asked == "local" or (not asked and not answers):
        if address and not asked:
            log.warning("no Ray cluster answers at %s any more: starting Ray on this machine alone", address)
        _start()
    elif address and not answers:
        raise UsageError(f"no Ray cluster answers at {address} (RAY_ADDRESS): start one there, or unset RAY_ADDRESS")
    else:
        _join(address)


def _start() -> None:
    # Ray lowers the priority of its workers by 15: beside any other program they would starve. The driver and its
    # workers are one job, so they run at one priority; `nice` before the command lowers it for all of them.
    os.environ.setdefault(NICENESS, "0")
    _listen_on_this_machine_alone()
    try:
        ray.init("local", log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray has no common error, and time limits of its own
        raise JobError(f"Ray does not start on this machine: {reason(error)}") from error


def _listen_on_this_machine_alone() -> None:
    """Let a Ray that starts next listen at 127.0.0.1: whoever reaches its ports may run code, and it has no login.

    Ray does so by itself on macOS and Windows, and its switch for that works on Linux too.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that it starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # read when ray was imported


def _join(address: str | None) -> None:
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", JOIN_TRIES)
    try:
        # without an address: only then Ray takes the token of a cluster on this machine by itself
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise UsageError(f"cannot join the Ray cluster at {address or 'auto'}: {_refusal(error)}") from error


def _refusal(error: Exception) -> str:
    """Return why a cluster that answers cannot be joined, one line."""
    told = f"{error} {error.__cause__ or ''}"
    if "authentication token" in told.lower():
        return "it wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN if ~/.ray/auth_token is not its token"
    if "Version mismatch" in told:
        told = " ".join(str(error.__cause__ or error).split())
        return f"{told.rstrip('.')}; use the same Python and Ray here and on all nodes"
    return reason(error.__cause__ or error)


def _answers(address: str) -> bool:
    """Return whether a cluster answers: the kernel still accepts connections to a process that is stopped."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            # a gRPC server sends its settings first; with TLS it waits for the client
            return os.environ.get("RAY_USE_TLS", "0") != "0" or bool(connection.recv(1))
    except (OSError, ValueError):
        return False
