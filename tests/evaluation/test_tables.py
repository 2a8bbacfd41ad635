from anomalyclip.evaluation.intervals import Difference, Interval
from anomalyclip.evaluation.tables import aligned, markdown, spreadsheet_text
from anomalyclip.evaluation.text import difference_text, difference_values, value_text

ROWS = [["name", "size"], ["a", "10"], ["b|c\nd", "9"]]


def test_a_markdown_table_aligns_columns_and_keeps_cells_whole() -> None:
    assert markdown(ROWS).split("\n") == [
        "| name | size |", "| --- | --: |", "| a | 10 |", "| b\\|c d | 9 |",
    ]  # fmt: skip
    assert markdown(ROWS, left=2).split("\n")[1] == "| --- | --- |"


def test_aligned_rows_have_columns_of_equal_width() -> None:
    rows = [["name", "size", "what"], ["a", "10", ""], ["longer", "9", "x"]]
    assert aligned(rows).split("\n") == ["  name    size  what", "  a       10", "  longer  9     x"]
    assert aligned(rows, right=[1]).split("\n")[1:] == ["  a         10", "  longer     9  x"]


def test_figures_and_differences_have_one_form() -> None:
    assert value_text(None) == difference_text(None) == "undefined"
    assert value_text(0.90909) == "0.909"
    assert [value_text(value) for value in (9.87654, 34.99, 123.45, 98765.4, 0.0, -12.345)] == [
        "9.877", "34.99", "123.5", "98765", "0.000", "-12.35",
    ]  # fmt: skip
    assert value_text(12.3456, Interval(1.5, 99.99), digits=4) == "12.346 (1.500 to 99.990)"
    assert value_text(-12.3456, Interval(-15.5, -9.99), digits=2, fixed=True) == "-12.35 (-15.50 to -9.99)"
    assert value_text(float("inf")) == "inf"
    assert value_text(0.90909, Interval(0.8, 0.95)) == "0.909 (0.800 to 0.950)"
    assert difference_text(Difference(0.1, Interval(-0.02, 0.22)), digits=2) == "+0.10 (-0.02 to +0.22)"
    assert difference_values(Difference(0.1, None, None)) == {
        "difference": 0.1, "low": None, "high": None, "better": None,
    }  # fmt: skip


def test_spreadsheets_compute_nothing_of_a_cell() -> None:
    assert [spreadsheet_text(cell) for cell in ("=1+1", "@SUM(A1)", "-2", "+3", "\t=1", "Arson", "a=b", "")] == [
        "'=1+1", "'@SUM(A1)", "'-2", "'+3", "'\t=1", "Arson", "a=b", "",
    ]  # fmt: skip
