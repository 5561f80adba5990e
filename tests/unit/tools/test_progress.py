import pytest

from tools.progress import progress, progress_bar


def test_off_a_terminal_nothing_is_shown_and_every_item_comes(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter(range(5)), "reading", total=5)) == [0, 1, 2, 3, 4]
    with progress_bar("reading", 5) as bar:
        bar.update(3)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
