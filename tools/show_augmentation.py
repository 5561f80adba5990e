"""The old name of programs.show_augmentation; it goes with the next version."""

from tools.moved import say_moved

if __name__ == "__main__":
    say_moved("show_augmentation")
