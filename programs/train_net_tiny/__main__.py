"""Train net_tiny, the backbone that ships with the project.

`python3 -m programs.train_net_tiny --teacher-weights PATH`; checkpoints/README.md says what came of it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from configuration.program import run_program
from models.backbones.backbone import Backbone
from programs.train_net_tiny.imitation import LAYERS, train
from tools.weights import read_state


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = argparse.ArgumentParser(description="train net_tiny to imitate ResNet-18 on generated images")
    parser.add_argument("--teacher", default="resnet18", choices=["resnet18", "timm/resnet18"])
    parser.add_argument(
        "--teacher-weights", type=Path, required=True, help="its state dict, at least to layer3"
    )
    parser.add_argument("--out", type=Path, default=Path("checkpoints/net_tiny.safetensors"))
    parser.add_argument("--steps", type=int, default=2400, help="batches")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    return run_program(lambda: write_weights(arguments))


def write_weights(arguments: argparse.Namespace) -> int:
    """Train, and write the weights in half precision; return 0.

    Raises:
        UserError: the teacher's weights cannot be read.
    """
    teacher = Backbone(arguments.teacher, LAYERS)
    teacher.load_weights(read_state(arguments.teacher_weights), partial=False)
    net = train(teacher.freeze(), arguments.steps, arguments.seed)
    state = {
        key: value.half().contiguous() for key, value in net.state_dict().items() if "num_batches" not in key
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
