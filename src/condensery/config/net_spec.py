"""Network specs: ``NAME[:key=value[,key=value…]]``, with an import path for a name if need be."""

from __future__ import annotations

from dataclasses import dataclass

from condensery.errors import UsageError


@dataclass(frozen=True)
class Spec:
    """A parsed spec; ``str`` formats it."""

    name: str
    """A name of the zoo, ``package.module:Class`` or ``package.module.Class``."""
    options: dict[str, str]
    """Keys and values as written, in order."""

    def __str__(self) -> str:
        """The spec as written."""
        pairs = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}:{pairs}" if pairs else self.name

    @property
    def is_path(self) -> bool:
        """Whether the name is an import path."""
        return "." in self.name or ":" in self.name


def parse(text: str) -> Spec:
    """Parse a spec; whether its name exists is not checked.

    Raises:
        UsageError: for a part that is not ``key=value``, or a key given twice.

    >>> parse("convnet3:norm=batch").options
    {'norm': 'batch'}
    >>> parse("my.nets:Net:width=8").name
    'my.nets:Net'
    """
    name, _, rest = (part.strip() for part in text.partition(":"))
    first, _, after = rest.partition(":")
    if first and "=" not in first:
        name, rest = f"{name}:{first}", after
    if not name or name.startswith(":"):
        raise UsageError(f"the network '{text}' has no name; write one such as convnet3")
    options: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value):
            raise UsageError(
                f"'{pair}' in the network '{text}' is not key=value; write it as in "
                "convnet3:norm=batch,width=64"
            )
        if key in options:
            raise UsageError(f"the network '{text}' sets {key} twice; keep one of them")
        options[key] = value
    return Spec(name, options)
