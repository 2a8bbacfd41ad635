import pytest

from anomalyclip.data.new_names import asked_names, refuse_known
from anomalyclip.errors import UsageError


def test_names_keep_their_order_and_lose_the_spaces_round_them() -> None:
    assert asked_names("person falling, dog ,fire_") == ("person falling", "dog", "fire_")
    assert asked_names(None) == ()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "a name is empty"),
        ("dog,,fire", "a name is empty"),
        ("dog, ", "a name is empty"),
        ("dog,Dog", "--classes Dog: it is given twice"),
        ("car_crash,car crash", "it is given twice"),
        ("caf\u00e9,cafe\u0301", "it is given twice"),
        ("dog,\uff44\uff4f\uff47", "it is given twice"),
        ("dog," + "x" * 500, "xxxx… has 500 characters, a name at most 100"),
        ("do\ng", "a name is printable"),
        ("<|endoftext|>", "without the separators"),
        ("normal", "Normal is a class of the model already"),
    ],
)
def test_what_is_no_list_of_names_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="--classes") as error:
        asked_names(text)
    assert message in str(error.value)


def test_the_name_of_a_trained_class_is_refused() -> None:
    with pytest.raises(UsageError, match="--classes road accidents: Road_Accidents is a class of the model already"):
        refuse_known(["dog", "road accidents"], ["Road_Accidents", "Normal"])
