"""A GPU index works on any machine."""

import pytest
import torch

from configuration.device import choose_device


@pytest.mark.parametrize(
    ("gpu", "count", "device", "note"),
    [
        (1, 4, "cuda:1", ""),
        (1, 1, "cuda:0", "no GPU 1 here: running on GPU 0"),
        (1, 0, "cpu", "no GPU here: asked for GPU 1, running on the CPU"),
        (0, 1, "cuda:0", ""),
        ("cpu", 4, "cpu", ""),
        (-1, 4, "cpu", ""),
    ],
)
def test_what_is_not_there_falls_back_with_a_line(
    monkeypatch: pytest.MonkeyPatch, gpu: int, count: int, device: str, note: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert choose_device(gpu) == (device, (note,) if note else ())
