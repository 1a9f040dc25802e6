"""What a person says beside a model that is imported, as far as the file does not say it itself."""

from __future__ import annotations

import msgspec


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All are optional; a kind of model names those that it takes (`kinds.Kind.takes`)."""

    recipe: str = ""
    """YAML: the layers that weights alone belong to, what input and output are called, and the task."""
    sample: str = ""
    """Path of a file with some real inputs; its ending says what it is."""
    task: str = ""
    labels: tuple[str, ...] = ()
    """Of a classifier, in the order of its outputs."""

    def given(self) -> list[str]:
        """The names of those that were said."""
        return [name for name in self.__struct_fields__ if getattr(self, name)]
