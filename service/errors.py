"""Every error that Vitals raises on purpose, split by who must act.

    VitalsError                    one line: the place and the cure; the command line prints it without a traceback
    ├── ConfigError                the operator: a setting, a model file, a topic layout
    ├── DependencyError            the operator: a broker, a disk, a download that does not answer
    │   └── NotAllowedError        the operator: rights that this user lacks at the brokers
    ├── InputError                 the caller: a file or a line of a file
    │   └── UsageError             the caller: an option or argument that cannot have this value
    ├── RecordRejected             the publisher: one record that goes to the dead letters
    ├── BatchError                 the operator: records in a topic that no client can read
    ├── TopicError                 the operator, the publisher: a topic that the worker must not go on with
    └── StateError                 us or the operator: stored state that cannot be read

Only errors live here; nothing in this module may import anything of the project.
"""

from __future__ import annotations


class VitalsError(Exception):
    """An error with a message for a person: what is wrong, where, and what to do."""

    exit_code = 1


class ConfigError(VitalsError):
    """A setting, model file or topic layout that the service refuses to start with."""

    exit_code = 2


class DependencyError(VitalsError):
    """A part outside this process (broker, disk, download) is missing or does not answer."""


class NotAllowedError(DependencyError):
    """Something that the brokers do not let this user do."""


class InputError(VitalsError):
    """A file, or a line of a file, that cannot be read as asked."""


class UsageError(InputError):
    """An option or argument that cannot have the value it was given."""

    exit_code = 2


class BatchError(VitalsError):
    """A stored batch of records that cannot be read; nothing is skipped, the worker stops."""


class StateError(VitalsError):
    """Stored state that this version cannot read; nothing is skipped, the worker stops."""


class TopicError(VitalsError):
    """A topic that is gone, made anew or full of records that cannot be scored; the worker stops."""


class RecordRejected(VitalsError):  # noqa: N818 - what happened to the record, not to us
    """One input record that cannot be scored; `reason` is from the closed list of dead-letter reasons."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
