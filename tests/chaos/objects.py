"""The root of a stage in an object store, behind a wire that can be cut or slow."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anomalyclip.storage import Storage
from tests.chaos.world import World
from tests.servers import object_store, s3_root
from tests.wire import Wire, wire

TRACKED = "mlflow"
"""Folder of the tracking server: it stays where it is."""


@contextmanager
def in_object_store(world: World) -> Iterator[Wire]:
    """Move the root's files to an S3 server, where commands work meanwhile, and back at the end."""
    with object_store(world.folder) as address, wire(address) as laid:
        storage = Storage(_root(address))
        for path in _files(world.root):
            storage.publish(path, str(path.relative_to(world.root)))
        world.place = _root(laid.address)
        try:
            yield laid
        finally:
            world.place = None
            _bring_back(storage, world.root)


def _bring_back(storage: Storage, root: Path) -> None:
    for folder in root.iterdir():
        if folder.name != TRACKED:
            shutil.rmtree(folder)
    for file in storage.files():
        (root / file.key).parent.mkdir(parents=True, exist_ok=True)
        (root / file.key).write_bytes(storage.read(file.key))


def _root(address: str) -> str:
    return s3_root(address, "root").replace("s3://", "s3://tests:tests@")


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != TRACKED]
