"""What is said of an error, and of a duration."""

import pytest
import tenacity

from trainables.common.names import lasting, one_line


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("no\n data"), "no data"), (KeyError("a"), "KeyError: 'a'"),
     (ValueError(), "ValueError: ")],
)  # fmt: skip
def test_an_error_is_named_as_it_was_raised_first(error: Exception, said: str) -> None:
    def fails() -> None:
        raise error

    assert one_line(error) == said
    with pytest.raises(tenacity.RetryError) as tried:
        tenacity.Retrying(stop=tenacity.stop_after_attempt(2))(fails)
    assert one_line(tried.value) == said


def test_durations() -> None:
    told = [lasting(seconds) for seconds in (0.44, 20, 99.4, 180, 5999, 9000)]
    assert told == ["0.4 s", "20 s", "99 s", "3 min", "100 min", "2.5 h"]
