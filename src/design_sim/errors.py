"""What can go wrong, in one small tree; each class knows the exit code that it ends a command with."""

from collections.abc import Sequence


class DesignSimError(Exception):
    """Something that the user can put right, told in one clear message."""

    exit_code = 2


class ScenarioError(DesignSimError):
    """A scenario that cannot be run; `faults` holds one line for each fault found.

    Every fault is listed at once, by its path, with what was found and what is allowed.
    """

    def __init__(self, faults: Sequence[str], source: str = "scenario") -> None:
        self.faults = list(faults)
        self.source = source
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {fault}" for fault in self.faults)]))


class FolderInUseError(DesignSimError):
    """An output folder that holds something other than our own earlier results."""

    exit_code = 3


class StorageError(DesignSimError):
    """Results that could not be written: disk full, read-only, vanished."""

    exit_code = 4


class IntegrityError(DesignSimError):
    """Stored results that are not what was written."""

    exit_code = 5
