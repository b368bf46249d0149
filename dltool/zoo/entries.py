"""The models of the zoo as their rows in `catalog/models.csv` describe them. No torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from msgspec import Struct

from dltool import tables
from dltool.errors import unknown_name


class Entry(Struct, frozen=True, kw_only=True):
    """A model, or a variant of it that options make."""

    name: str
    options: Mapping[str, str]
    """What makes the variant, as texts: {"aux_loss": "False"}; nothing for the model itself."""
    module: str
    """The file of `dltool/models/` that defines it."""
    task: str
    """What it is trained for, a file of `dltool/zoo/tasks/`."""
    training: Mapping[str, str]
    """Options that only a training step needs, such as BERT's heads."""
    input: str
    """Its inputs, see `dltool.zoo.inputs`; N stands for the batch."""
    params: int
    """Parameters, trainable or not, tied ones once."""
    forward_gflops: float | None
    """Of one sample in eval mode, 1e9 operations; a multiply-add counts as two, causal attention as the full square."""
    published: str
    """Figures as their authors print them, with their convention."""
    reference: str
    """The implementation that it equals key by key: "torchvision:resnet50"; nothing where none exists."""
    source: str
    year: int
    title: str
    """What it is called in papers."""
    paper: str

    @property
    def label(self) -> str:
        """Name and options as a person writes them: `fcn_resnet50(aux_loss=False)`."""
        told = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}({told})" if told else self.name


@cache
def entries() -> tuple[Entry, ...]:
    """All rows, models and variants, in the order of the table."""
    return tuple(_entry(row) for row in tables.rows("models"))


@cache
def entry(name: str) -> Entry:
    """The model of this name, without options.

    Raises:
        UsageError: no such model; the nearest names are suggested.
    """
    found = {item.name: item for item in entries() if not item.options}
    if name not in found:
        raise unknown_name("model", name, found, listing="dltool models")
    return found[name]


def _entry(row: tables.Row) -> Entry:
    return Entry(
        name=row["name"],
        options=_options(row["options"]),
        module=row["module"],
        task=row["task"],
        training=_options(row["training"]),
        input=row["input"],
        params=int(row["params"]),
        forward_gflops=float(row["forward_gflops"]) if row["forward_gflops"] else None,
        published=row["published"],
        reference=row["reference"],
        source=row["source"],
        year=int(row["year"]),
        title=row["title"],
        paper=row["paper"],
    )


def _options(text: str) -> dict[str, str]:
    """`aux_loss=False; num_classes=21` taken apart."""
    parts = (part.partition("=") for part in text.split(";") if part.strip())
    return {key.strip(): value.strip() for key, _, value in parts}
