"""What cannot be parsed is damaged; what cannot be read is a fault of the disk or the network."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomalyclip.data.parquet import read_undamaged


class Flaky(io.BytesIO):
    """A file whose first reads fail as a network does."""

    failures = 1

    def read(self, *sizes: Any) -> bytes:
        if self.failures:
            self.failures -= 1
            raise OSError("When reading: AWS Error NETWORK_CONNECTION")
        return super().read(*sizes)


def whole() -> bytes:
    pq.write_table(pa.table({"a": [1, 2, 3]}), buffer := io.BytesIO())
    return buffer.getvalue()


def test_a_whole_file_is_read() -> None:
    assert read_undamaged(io.BytesIO(whole()), pq.read_table)["a"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("fault", [b"", b"PAR1", b"PAR1" + bytes(400) + whole()[-8:]])
def test_a_damaged_file_is_called_so(fault: bytes) -> None:
    with pytest.raises(pa.ArrowInvalid, match="not readable as Parquet"):
        read_undamaged(io.BytesIO(fault), pq.read_table)


@pytest.mark.parametrize("failures", [1, 1000])
def test_a_network_that_fails_is_not_called_damage(failures: int) -> None:
    file = Flaky(whole())
    file.failures = failures
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        read_undamaged(file, pq.read_table)
