"""Generalised least squares from cross-products that depend on variance ratios, with all derivatives.

A mixed model enters by M = [X y]' V^-1 [X y] and log|V|, V = I + sum of ratio x Z Z', and their first two
derivatives with respect to the ratios. The regressors are swept out. With c = (-beta, 1) the residual squares
are c'Mc, and since beta minimises them their derivative is c'dM c.
"""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Bools, Floats
from design_sim.numerics.mixed.cross_products import ALIASED
from design_sim.numerics.mixed.effect_test import Local, Reml
from design_sim.numerics.mixed.sweep import swept


@dataclass(frozen=True, slots=True)
class Products:
    """Cross-products of regressors and outcome, the last column, weighted by V^-1, and log|V|.

    Parameters
    ----------
    value : float array, (column, column, replicate)
    slopes : float array, (ratio, column, column, replicate)
        Derivatives with respect to the ratios.
    curves : float array, (ratio, ratio, column, column, replicate)
        Second derivatives.
    log_det : Local
        log|V| with its derivatives.
    """

    value: Floats
    slopes: Floats
    curves: Floats
    log_det: Local


@dataclass(frozen=True, slots=True)
class Solved:
    """A mixed model at given ratios, everything else solved for.

    Parameters
    ----------
    products : Products
        Its cross-products.
    squares, log_det : Local
        Weighted residual squares; log|V| + log|X'V^-1 X|.
    inverse : float array, (regressor, regressor, replicate)
        Inverse of X'V^-1 X.
    coefficients : float array, (regressor, replicate)
    aliased : bool array, (replicate,)
        Whether a regressor is a combination of those before it.
    """

    products: Products
    squares: Local
    log_det: Local
    inverse: Floats
    coefficients: Floats
    aliased: Bools

    @classmethod
    def of(cls, products: Products) -> "Solved":
        """Regress the outcome, all weights being known."""
        done, pivots = swept(products.value, products.value.shape[0] - 1)
        inverse, coefficients = done[:-1, :-1], done[:-1, -1]
        residual = np.concatenate([-coefficients, np.ones((1, coefficients.shape[1]))])
        along = np.einsum("kijr,jr->kir", products.slopes, residual)
        bend = np.einsum("klijr,jr->klir", products.curves, residual)
        crossed = np.einsum("kir,ijr->kjr", along[:, :-1], inverse)
        squares = Local(
            done[-1, -1],
            np.einsum("kir,ir->kr", along, residual),
            np.einsum("klir,ir->klr", bend, residual) - 2 * np.einsum("kir,lir->klr", crossed, along[:, :-1]),
        )
        turned = np.einsum("ijr,kjmr->kimr", inverse, products.slopes[:, :-1, :-1])
        log_det = Local(
            products.log_det.value + np.log(pivots).sum(axis=0),
            products.log_det.gradient + np.einsum("kiir->kr", turned),
            products.log_det.hessian
            + np.einsum("ijr,klijr->klr", inverse, products.curves[:, :, :-1, :-1])
            - np.einsum("kijr,ljir->klr", turned, turned),
        )
        kept = pivots > ALIASED * np.einsum("iir->ir", products.value)[:-1]
        return cls(products, squares, log_det, inverse, coefficients, ~kept.all(axis=0))

    def reml(self, df: Floats, effect: int) -> Reml:
        """All that a fit is judged by.

        Parameters
        ----------
        df : float array, (replicate,)
            Observations less regressors.
        effect : int
            The column asked about.
        """
        column = self.inverse[:, effect]
        along = np.einsum("kijr,jr->kir", self.products.slopes[:, :-1, :-1], column)
        bend = np.einsum("klijr,jr->klir", self.products.curves[:, :, :-1, :-1], column)
        crossed = np.einsum("kir,ijr->kjr", along, self.inverse)
        variance = Local(
            column[effect],
            -np.einsum("kir,ir->kr", along, column),
            2 * np.einsum("kir,lir->klr", crossed, along) - np.einsum("klir,ir->klr", bend, column),
        )
        return Reml(self.squares, self.log_det, variance, df)
