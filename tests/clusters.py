"""Ray clusters of several nodes on this machine, started by `ray start`, each node at an address of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import requests
from requests.adapters import HTTPAdapter

from tests.servers import PATIENCE, TOOLS, free_port

PATIENCE_SECONDS = 300.0
HEALTH = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}
"""A node that is gone is noticed after 2 s instead of 15."""
READY = "Ray runtime started"


@dataclass
class Node:
    """A node: its processes, and the folder of its log, its sockets and its scratch files."""

    address: str
    process: subprocess.Popen[bytes]
    folder: Path

    def kill(self) -> None:
        """Kill all its processes at once, as a machine that is switched off."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            for process in [first, *first.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait(timeout=60)


@dataclass
class Cluster:
    """A head and the nodes that have joined it."""

    folder: Path
    cpus: int
    environment: Mapping[str, str]
    """Of everything that joins or submits; the token is in it."""
    nodes: list[Node] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)

    @property
    def dashboard(self) -> str:
        """The address that jobs are submitted to."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def start_head(self) -> Node:
        """Start a head at the cluster's ports, the first one or the next."""
        return self._start("--head", f"--port={self.port}", f"--dashboard-port={self.dashboard_port}")

    def add_node(self) -> Node:
        """Start one more node."""
        return self._start(f"--address={self.nodes[0].address}:{self.port}")

    def ray(self, *words: str, cwd: Path | None = None, seconds: float = PATIENCE_SECONDS) -> tuple[int, str]:
        """Run Ray's command line to its end; returns its exit code and what it said."""
        process = self.start_ray(*words, cwd=cwd)
        said, _ = process.communicate(timeout=seconds)
        return process.returncode, said

    def start_ray(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start Ray's command line; its output is one stream."""
        return subprocess.Popen(
            [str(TOOLS / "ray"), *words], cwd=cwd or self.folder, env=self._told(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait_for_jobs(self) -> None:
        """Wait until the head takes jobs, some seconds after it has started."""
        login = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=PATIENCE))
            session.get(f"{self.dashboard}/api/jobs/", headers=login, timeout=60).raise_for_status()

    def end(self) -> None:
        """End all nodes, the head last, and remove their folders."""
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *words: str) -> Node:
        number = len(self.nodes)
        folder, address = self.folder / str(number), f"127.0.1.{number + 1}"  # Ray replaces 127.0.0.1 by another
        (folder / "scratch").mkdir(parents=True)
        command = [str(TOOLS / "ray"), "start", *words, "--block", f"--node-ip-address={address}"]
        command += [f"--num-cpus={self.cpus}", f"--temp-dir={folder}", f"--object-store-memory={100 * 2**20}"]
        command += [f"--dashboard-agent-listen-port={free_port()}", "--disable-usage-stats"]
        told = {**self._told(), "ANOMALYCLIP_SCRATCH": str(folder / "scratch")}
        with (folder / "start.log").open("w") as log:
            process = subprocess.Popen(command, env=told, stdout=log, stderr=log, start_new_session=True)
        node = Node(address, process, folder)
        self.nodes.append(node)
        deadline = time.monotonic() + 60
        while READY not in (said := (folder / "start.log").read_text()):
            assert process.poll() is None and time.monotonic() < deadline, said[-2000:]
            time.sleep(0.1)
        return node

    def _told(self) -> dict[str, str]:
        known = {"RAY_API_SERVER_ADDRESS": self.dashboard, "RAY_TMPDIR": str(self.folder)}
        return {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", **known, **HEALTH, **self.environment}


@contextmanager
def cluster(nodes: int, cpus: int, **environment: str) -> Iterator[Cluster]:
    """Start a cluster of some nodes with so many CPUs each; it asks for a token, as every cluster does."""
    told = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex, "OMP_NUM_THREADS": "1", **environment}
    folder = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))  # the sockets' paths must be short
    started = Cluster(folder, cpus, {"MLFLOW_DISABLE_TELEMETRY": "true", **told})
    try:
        started.start_head()
        for _ in range(nodes - 1):
            started.add_node()
        started.wait_for_jobs()
        yield started
    finally:
        started.end()
