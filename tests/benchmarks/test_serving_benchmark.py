"""A served model under load, with a promotion in the middle, beside MLflow's own server on the same files."""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
from pytest_benchmark.fixture import BenchmarkFixture

from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import tracked_run
from tests.registered import write_bundle
from tests.servers import TOOLS, free_port, serving

pytestmark = pytest.mark.accept

ROOT = Path(__file__).parent.parent.parent
CLIENTS, REQUESTS, FRAMES = 8, 400, 300
QUESTION = {"dataframe_records": [{"features": np.random.default_rng(0).normal(size=(FRAMES, 64)).round(3).tolist()}]}


def test_a_promotion_under_load_costs_no_request(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    uri = registered(tmp_path)
    port, environment = free_port(), {"MLFLOW_TRACKING_URI": uri, "ANOMALYCLIP_STORAGE": str(tmp_path / "root")}
    own = [sys.executable, str(ROOT / "workflows/serve.py"), "models:/detector@champion", "--reload", "0.5"]
    theirs = [str(TOOLS / "mlflow"), "models", "serve", "-m", "models:/detector/1", "--env-manager", "local"]
    figures = {}
    for name, command in {"mlflow": theirs, "serve.py": own}.items():
        with serving([*command, "--port", str(port)], port, "/ping", tmp_path / "log", **environment) as address:
            load(address, lambda: None)
            then = (lambda: promote(uri)) if name == "serve.py" else (lambda: None)
            figures[name] = load(address, then)
            if name == "serve.py":
                metrics = requests.get(f"{address}/metrics", timeout=60).text
                benchmark.pedantic(lambda: ask(address), rounds=5)
        print(f"\n{name}: {figures[name]}")
    benchmark.extra_info.update(figures)
    assert figures["serve.py"]["errors"] == 0
    assert 'anomalyclip_model_info{version="models:/detector/2"} 1.0' in metrics


def registered(folder: Path) -> str:
    """A registry with two versions, the first of which is champion."""
    storage, uri = Storage(str(folder / "root")), f"sqlite:///{folder}/mlflow.db"
    for seed in (0, 1):
        with tracked_run(uri, storage, "tests", str(seed)) as tracking:
            register_model(tracking, log_model(tracking, write_bundle(folder / f"bundle-{seed}", seed)), "detector")
            if seed == 0:
                tracking.client.set_registered_model_alias("detector", "champion", "1")
    return uri


def promote(uri: str) -> None:
    mlflow.MlflowClient(uri, uri).set_registered_model_alias("detector", "champion", "2")


def load(address: str, halfway: Callable[[], None]) -> dict[str, float]:
    """Ask from several clients at once; requests per second, median and 99th percentile in ms, and errors."""
    done, meet = threading.Semaphore(0), threading.Thread(target=lambda: (wait(done), halfway()))
    meet.start()
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda _: (ask(address), done.release())[0], range(REQUESTS)))
    seconds = time.perf_counter() - started
    meet.join()
    middle, high = (1e3 * np.percentile([taken for taken, _ in answers], [50, 99])).tolist()
    errors = sum(not good for _, good in answers)
    return {"per_second": REQUESTS / seconds, "median_ms": middle, "p99_ms": high, "errors": errors}


def wait(done: threading.Semaphore) -> None:
    """Wait until half of the requests are answered."""
    for _ in range(REQUESTS // 2):
        done.acquire()


def ask(address: str) -> tuple[float, bool]:
    """One request: seconds, and whether it has scores."""
    started = time.perf_counter()
    answer = requests.post(f"{address}/invocations", json=QUESTION, timeout=120)
    good = answer.ok and answer.json()["predictions"][0]["error"] is None
    return time.perf_counter() - started, good
