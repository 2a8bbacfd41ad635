from pathlib import Path

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.importing.label_file import read_labels

GOOD = {
    "ids and names": "id,name\n0,Abuse\n1,Normal\n2,throwing object\n",
    "names alone": "Abuse\nNormal\nthrowing object\n",
    "byte order mark and Windows line ends": "\ufeffid,name\r\n0,Abuse\r\n1,Normal\r\n2,throwing object\r\n",
    "names with a byte order mark": "\ufeffAbuse\r\nNormal\r\nthrowing object",
    "spaces and empty lines": "ID, Name\n\n0, Abuse \n1,Normal\n\n2,throwing object\n\n",
    "normal in lower case": "id,name\n0,Abuse\n1,normal\n2,throwing object\n",
}


@pytest.mark.parametrize("case", GOOD)
def test_names_are_read_in_their_order(case: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(GOOD[case].encode())
    assert read_labels(tmp_path / "labels.csv") == ["Abuse", "Normal", "throwing object"]


BAD = {
    "no Normal": ("Abuse\nArson\n", ["no class is Normal"]),
    "a doubled name": ("Abuse\nNormal\nAbuse\n", ["doubled: Abuse"]),
    "two spellings of a prompt": ("car_crash\nNormal\ncar crash\n", ["doubled: car crash, car_crash"]),
    "two Normals": ("Normal\nAbuse\nnormal\n", ["doubled: Normal, normal"]),
    "ids out of order": ("id,name\n1,Abuse\n0,Normal\n", ["ids must be 0 to 1 in this order; they are 1, 0"]),
    "ids from 1": ("id,name\n1,Abuse\n2,Normal\n", ["they are 1, 2"]),
    "a row without a name": ("id,name\n0,Abuse\n1,\n2,Normal\n", ["['1', ''] is not an id and a name"]),
    "a table without a header": ("0,Abuse\n1,Normal\n", ["'0,Abuse' is not one name", "no class is Normal"]),
    "nothing": ("", ["no class is Normal", "0 classes"]),
    "Normal alone": ("Normal\n", ["1 classes"]),
    "several faults": ("id,name\n5,Abuse\n6,Abuse\n", ["ids must be", "doubled: Abuse", "no class is Normal"]),
}


@pytest.mark.parametrize("case", BAD)
def test_every_fault_is_listed_in_one_message(case: str, tmp_path: Path) -> None:
    content, messages = BAD[case]
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UsageError) as caught:
        read_labels(tmp_path / "labels.csv")
    assert str(tmp_path / "labels.csv") in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("none", "binary", "."):
        with pytest.raises(UsageError, match="cannot be read"):
            read_labels(tmp_path / name)
