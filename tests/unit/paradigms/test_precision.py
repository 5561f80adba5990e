from pathlib import Path

import pytest
import torch
from torch import nn

from configuration.config import load_config
from paradigms.step import precision


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_every_update_of_the_weights_is_seen(amp: str, tmp_path: Path) -> None:
    words = ["-v", "-m", "_example", "-d", "_example", "-wd", str(tmp_path), "-g", "cpu", "--amp", amp]
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    outputs = []
    with precision(load_config(words)):
        for _ in range(3):
            outputs.append(net(torch.ones(1, 4)))
            optimizer.zero_grad()
            outputs[-1].sum().backward()
            optimizer.step()
    assert {output.dtype for output in outputs} == {torch.float32 if amp == "off" else torch.bfloat16}
    steps = torch.stack(outputs).flatten().diff()
    torch.testing.assert_close(
        steps.float(), torch.full((2,), -5.0), rtol=0, atol=0.07
    )  # bf16 has sixteenths here
