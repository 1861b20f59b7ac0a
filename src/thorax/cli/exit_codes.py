"""The exit codes of the command line, in words; `thorax.errors` has the codes of the exceptions."""

from typing import Final

__all__ = ["EXIT_CODES"]

EXIT_CODES: Final = {
    0: "everything was done",
    1: "a check found an error in the results, or something failed that has no other code",
    2: "an option, a setting or the recipe is wrong",
    3: "labels, a finding, a split, a folder or a store are wrong, or patients of training would be "
    "evaluated",
    4: "some files could not be used, or some runs of a study failed; the others were done",
    5: "a bundle is incomplete or damaged, or does not fit",
    6: "the network service cannot start or respond",
    7: "a package of an extra is not installed",
    130: "stopped with Ctrl-C",
}
"""What each exit code means; `docs/command-line.md` has the same table."""
