"""What a bundle saw when it was made, and the refusal to measure it on that."""

import hashlib
from collections.abc import Iterable

from thorax.bundle.folder import Bundle
from thorax.errors import LeakError

__all__ = ["hashed_patients", "refuse_seen_patients"]


def hashed_patients(dataset: str, patients: Iterable[str]) -> dict[str, str]:
    """Return a hash for each distinct patient: 16 hexadecimal digits of SHA-256 over data set and id.

    A bundle can thus recognize a patient that it saw without listing ids. Ids are short enough to be
    guessed, so hashing keeps them out of sight but does not make them secret.
    """
    return {
        patient: hashlib.sha256(f"{dataset}\n{patient}".encode()).hexdigest()[:16]
        for patient in set(patients)
    }


def refuse_seen_patients(
    bundle: Bundle, dataset: str, patients: Iterable[str], *, by: Iterable[str] | None = None
) -> None:
    """Refuse to evaluate a bundle on patients that it saw when it was made.

    Args:
        bundle: The bundle.
        dataset: The data set of the patients.
        patients: Their ids.
        by: Refuse only patients under these keys of `Bundle.patients`; None: under any.

    Raises:
        LeakError: Some of the patients were seen; the message has the count for each part.
    """
    hashes = set(hashed_patients(dataset, patients).values())
    seen = {
        part: hashes & bundle.patients.get(part, frozenset())
        for part in (bundle.patients if by is None else by)
    }
    seen_by_any = frozenset().union(*seen.values())
    if seen_by_any:
        counts = " and ".join(f"{len(patients)} in {part}" for part, patients in seen.items() if patients)
        raise LeakError(
            f"{len(seen_by_any)} of these {len(hashes)} patients were seen when this bundle was made "
            f"({counts}), so a result on them would mean nothing; use a part that it did not see"
            + (f" (it was trained on {bundle.split})" if bundle.split else "")
        )
