"""The old name of programs.train_net_tiny; it goes with the next version."""

from tools.moved import say_moved

if __name__ == "__main__":
    say_moved("train_net_tiny")
