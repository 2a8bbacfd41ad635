"""The contact sheet shows every class and every place."""

from anomalyclip.benchmark.footage.anomalies import ANOMALIES
from anomalyclip.benchmark.footage.contact_sheet import CAPTION, COLUMNS, contact_sheet


def test_the_sheet_has_a_row_a_class_and_two_rows_of_places() -> None:
    sheet = contact_sheet()
    assert sheet.shape == ((len(ANOMALIES) + 2) * (120 + CAPTION), COLUMNS * 160, 3)
