"""Quantised weights of 8 and 4 bits: how they are held, made and multiplied with."""

from moshi_cluster.models.layers.quantised.linear import QuantisedLinear
from moshi_cluster.models.layers.quantised.matrix import QuantisedMatrix, Stored

__all__ = ["QuantisedLinear", "QuantisedMatrix", "Stored"]
