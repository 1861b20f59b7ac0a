"""Runs the command line as `python -m thorax`."""

from thorax.cli.main import main

if __name__ == "__main__":
    main()
