"""A mixed model of one replicate the slow and obvious way: full matrices, simplex search, finite differences."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import optimize

from design_sim.arrays import Floats


@dataclass(frozen=True)
class DenseModel:
    """y = X beta + e with Var(y) = residual x (I + sum of ratio x layer); the last coefficient is asked about."""

    y: Floats
    x: Floats
    layers: list[Floats]

    def covariance(self, ratios: Floats) -> Floats:
        """Var(y) where the residual variance is 1."""
        total = np.eye(self.y.size)
        for ratio, layer in zip(ratios, self.layers, strict=True):
            total = total + ratio * layer
        return total

    def deviance(self, ratios: Floats, residual: float) -> float:
        """Minus twice the REML log-likelihood, by the textbook's formula."""
        covariance = residual * self.covariance(ratios)
        inverse = np.linalg.inv(covariance)
        information = self.x.T @ inverse @ self.x
        left = self.y - self.x @ np.linalg.solve(information, self.x.T @ inverse @ self.y)
        log_dets = np.linalg.slogdet(covariance).logabsdet + np.linalg.slogdet(information).logabsdet
        df = self.y.size - self.x.shape[1]
        return float(df * np.log(2 * np.pi) + log_dets + left @ inverse @ left)

    def residual(self, ratios: Floats) -> float:
        """The residual variance that fits best."""
        inverse = np.linalg.inv(self.covariance(ratios))
        left = self.y - self.x @ self.coefficients(ratios)
        return float(left @ inverse @ left / (self.y.size - self.x.shape[1]))

    def coefficients(self, ratios: Floats) -> Floats:
        """Generalised least squares."""
        weighted = self.x.T @ np.linalg.inv(self.covariance(ratios))
        return np.asarray(np.linalg.solve(weighted @ self.x, weighted @ self.y))

    def variance(self, ratios: Floats, residual: float) -> float:
        """Variance of the last coefficient."""
        inverse = np.linalg.inv(self.covariance(ratios))
        return float(residual * np.linalg.inv(self.x.T @ inverse @ self.x)[-1, -1])

    def fit(self) -> tuple[Floats, float]:
        """The ratios of least deviance, by a simplex search over their roots from several starts; the deviance."""

        def profiled(roots: Floats) -> float:
            root = np.linalg.cholesky(self.covariance(roots**2))
            x, y = np.linalg.solve(root, self.x), np.linalg.solve(root, self.y)
            q, r = np.linalg.qr(x)
            df = y.size - x.shape[1]
            residual = (y @ y - (q.T @ y) @ (q.T @ y)) / df
            log_dets = 2 * np.log(np.diag(root)).sum() + 2 * np.log(np.abs(np.diag(r))).sum()
            return float(df * (1 + np.log(2 * np.pi * residual)) + log_dets)

        searches = [
            optimize.minimize(
                profiled,
                np.full(len(self.layers), start),
                method="Nelder-Mead",
                options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000},
            )
            for start in (0.1, 1.0)
        ]
        best = min(searches, key=lambda search: search.fun)
        return np.where(best.x**2 < 1e-7, 0.0, best.x**2), float(best.fun)

    def satterthwaite(self, roots: Floats, ratios_of: Callable[[Floats], Floats] = np.square) -> float:
        """lmerTest's df: finite differences with respect to roots of the variances.

        Parameters
        ----------
        roots : float array
            Those of the ratios: standard deviations, or the entries of a Cholesky factor.
        ratios_of : callable
            The ratios from their roots.
        """
        point = np.append(roots, np.sqrt(self.residual(ratios_of(roots))))
        step = 1e-4
        shifts = step * np.eye(point.size)

        def deviance(p: Floats) -> float:
            return self.deviance(ratios_of(p[:-1]), p[-1] ** 2)

        def variance(p: Floats) -> float:
            return self.variance(ratios_of(p[:-1]), p[-1] ** 2)

        hessian = [
            [
                deviance(point + a + b)
                - deviance(point + a - b)
                - deviance(point - a + b)
                + deviance(point - a - b)
                for b in shifts
            ]
            for a in shifts
        ]
        gradient = np.array([variance(point + a) - variance(point - a) for a in shifts]) / (2 * step)
        spread = gradient @ (2 * np.linalg.inv(np.array(hessian) / (4 * step**2))) @ gradient
        return float(2 * variance(point) ** 2 / spread)

    def kenward_roger(self, ratios: Floats) -> tuple[float, float]:
        """The adjusted standard error and df, by pbkrtest's matrices in its own order (vcovAdj, Lb_ddf)."""
        residual = self.residual(ratios)
        inverse = np.linalg.inv(residual * self.covariance(ratios))
        parts = [*self.layers, np.eye(self.y.size)]
        phi = np.linalg.inv(self.x.T @ inverse @ self.x)
        p = [-self.x.T @ inverse @ part @ inverse @ self.x for part in parts]
        q = [[self.x.T @ inverse @ a @ inverse @ b @ inverse @ self.x for b in parts] for a in parts]
        information = np.array(
            [
                [
                    np.trace(inverse @ a @ inverse @ b)
                    - 2 * np.trace(phi @ q[i][j])
                    + np.trace(phi @ p[i] @ phi @ p[j])
                    for j, b in enumerate(parts)
                ]
                for i, a in enumerate(parts)
            ]
        )
        w = 2 * np.linalg.inv(information)
        number = range(len(parts))
        u = sum(w[i, j] * (q[i][j] - p[i] @ phi @ p[j]) for i in number for j in number)
        adjusted = phi + 2 * phi @ u @ phi
        slopes = [(phi @ p[i] @ phi)[-1, -1] / phi[-1, -1] for i in number]
        a = sum(w[i, j] * slopes[i] * slopes[j] for i in number for j in number)
        return float(np.sqrt(adjusted[-1, -1])), float(2 / a)


@pytest.fixture(scope="session")
def dense_model() -> Callable[[Floats, Floats, list[Floats]], DenseModel]:
    """How to build the slow model: outcome, regressors (the one asked about last), layers."""
    return DenseModel
