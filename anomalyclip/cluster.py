"""The Ray cluster of a job: the one it runs in, or one that it starts on this machine."""

import logging
import os

import ray

from anomalyclip.errors import UsageError


def connect(tracking_uri: str = "") -> None:
    """Join the cluster of `RAY_ADDRESS`, or start a local one; workers' output stays in Ray's own logs.

    Raises UsageError where several nodes would need a tracking server and there is only an SQLite file.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its lines on standard error are not for users
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for workers: busy waiting starves beside other programs
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    nodes = sum(node["Alive"] for node in ray.nodes())
    if nodes > 1 and tracking_uri.startswith("sqlite:"):
        raise UsageError(f"{nodes} nodes cannot share {tracking_uri}: start an MLflow server and give --tracking-uri")
