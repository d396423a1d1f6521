"""`python -m autockd`: the command line."""

from autockd.cli.app import enter

if __name__ == "__main__":
    enter()
