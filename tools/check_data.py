"""The old name of programs.check_data; it goes with the next version."""

from tools.moved import say_moved

if __name__ == "__main__":
    say_moved("check_data")
