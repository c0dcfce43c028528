import pytest

from harness.measure.units import bytes_text, counted, seconds_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (999.7, "1.0 kB"),
        (1000, "1.0 kB"),
        (1_400_000, "1.4 MB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (140 * 10**9, "140 GB"),
        (7.9e9, "7.9 GB"),
        (12_345 * 10**12, "12345 TB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_bytes(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (830e-9, "830 ns"),
        (12.34e-6, "12.3 us"),
        (99.96e-6, "0.1 ms"),
        (0.0008, "0.8 ms"),
        (0.9994, "999 ms"),
        (0.99951, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.6, "1 h 0 min"),
        (7320, "2 h 2 min"),
        (-0.5, "-500 ms"),
    ],
)
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


def test_one_is_no_plural():
    assert [counted(n, "day") for n in (0, 1, 2)] == ["0 days", "1 day", "2 days"]
