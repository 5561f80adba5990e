"""How a program ends."""

import errno
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from configuration.errors import UserError
from configuration.program import interrupts_wait, run_program


def raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.yaml: wrong"), 2, "x.yaml: wrong\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "/a\nb"),
            2,
            r"/a\nb: File name too long; mend it or name another one" + "\n",
        ),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    error: BaseException,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("configuration.program._drop_output", lambda: None)
    assert run_program(raising(error)) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("a bug")])
def test_a_bug_is_none_of_the_users(error: Exception) -> None:
    with pytest.raises(type(error), match="a bug"):
        run_program(raising(error))


def test_an_interrupt_waits_for_the_end_of_an_import(request: pytest.FixtureRequest) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    done = []

    def imported() -> None:
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("imported")

    with pytest.raises(KeyboardInterrupt):
        imported()
    assert done == ["imported"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with interrupts_wait():
        done.append("another")
    assert done[1:] == ["another"]
    with ThreadPoolExecutor() as pool:
        pool.submit(interrupts_wait().__enter__).result()  # only the main thread may set handlers


def test_a_home_of_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from configuration.paths import data_folder

    monkeypatch.setenv("IMIAD_DATA", "~nosuchuser/data")
    with pytest.raises(UserError, match=r"IMIAD_DATA names a user who is not there: '~nosuchuser/data'"):
        data_folder(None, None, "mvtec2d", "eno1")
