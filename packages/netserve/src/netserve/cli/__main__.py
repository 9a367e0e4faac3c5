"""``python -m netserve.cli``: the command, where its script isn't on the path."""

from netserve.cli import main

if __name__ == "__main__":
    main(prog_name="netserve")
