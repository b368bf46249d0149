"""One product of the user's."""

from __future__ import annotations

from dltool.bench.search.space import Shape
from dltool.zoo.products import Product


class Own(Product, frozen=True, kw_only=True):
    """A product as it occurs in a user's program, to be measured."""

    @property
    def shape(self) -> Shape:
        """Its sides."""
        return Shape(self.m, self.n, self.k)
