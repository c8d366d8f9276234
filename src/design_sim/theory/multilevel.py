"""Trials of nested units with treatment at any level, with or without blocks above it.

One formula holds them all. Families in teams in authorities, say: treat authorities, and what varies at
every level counts; treat teams within authorities, and what authorities have in common cancels, but how
much the effect varies between them counts in its place.
"""

from collections.abc import Sequence

import numpy as np

from design_sim.arrays import Floats
from design_sim.theory.ranges import require_above, require_at_least, require_inside, require_share


def nested_trial_variance(
    variances: Sequence[float],
    numbers: Sequence[float],
    treated_level: int,
    *,
    effect_variances: Sequence[float] = (),
    share_treated: float = 0.5,
    explained: Sequence[float] | None = None,
) -> float:
    """Variance of the estimated average effect in a balanced trial of nested units.

    sum over levels above the treated one of w_l / N_l, plus, from it down, of
    v_l (1 - R_l^2) / (p (1 - p) N_l), where N_l is the number of units of level l in the whole trial.
    Levels above the treated one are blocks, within each of which a share p is treated.

    Parameters
    ----------
    variances : sequence of float
        Variance component v_l of each level, from the top (authorities) to the bottom (families). Those
        above the treated level do not matter.
    numbers : sequence of float
        Units at the top, and then of each level in a unit of the one above.
    treated_level : int
        Which of the levels is allocated to arms: 0 the top one.
    effect_variances : sequence of float
        Variance w_l of the effect between units of each level above the treated one; none given: the
        blocks are fixed, the only ones of interest, and all w_l are 0.
    share_treated : float
        p, above 0 and below 1.
    explained : sequence of float
        R_l^2, the share of each level's variance that covariates explain; none given: 0.

    Returns
    -------
    float
        On the squared scale of the outcome; use it with `nested_trial_df`.

    References
    ----------
    Raudenbush and Liu (2000), Psychological Methods 5, 199-213; Dong and Maynard (2013), Journal of
    Research on Educational Effectiveness 6, 24-67 (PowerUp!: designs IRA, BIRA, CRA and BCRA).

    Examples
    --------
    >>> round(nested_trial_variance([0.17, 0.83], [20, 15], treated_level=0), 4)
    0.0451
    >>> round(nested_trial_variance([0.17, 0.83], [20, 15], 1, effect_variances=[0.085]), 4)
    0.0153
    """
    n_levels = len(variances)
    if len(numbers) != n_levels:
        raise ValueError(f"{n_levels} variances need {n_levels} numbers, not {len(numbers)}")
    if not 0 <= treated_level < n_levels:
        raise ValueError(f"treated_level must lie within 0 to {n_levels - 1}: {treated_level}")
    if effect_variances and len(effect_variances) != treated_level:
        raise ValueError(f"{treated_level} effect_variances needed, not {len(effect_variances)}")
    shares: Floats = np.zeros(n_levels) if explained is None else np.asarray(explained, dtype=float)
    if shares.size != n_levels:
        raise ValueError(f"{n_levels} variances need {n_levels} shares explained, not {shares.size}")
    require_at_least("variances", variances, 0)
    require_at_least("effect_variances", effect_variances, 0)
    require_above("numbers", numbers, 0)
    require_inside("share_treated", share_treated, 0, 1)
    require_share("explained", shares)
    units: Floats = np.cumprod(np.asarray(numbers, dtype=float))
    left = np.asarray(variances, dtype=float) * (1 - shares) / units
    between_blocks = sum(w / n for w, n in zip(effect_variances, units, strict=False))
    return float(between_blocks + left[treated_level:].sum() / (share_treated * (1 - share_treated)))


def nested_trial_df(
    numbers: Sequence[float], treated_level: int, *, random_blocks: bool = True, n_covariates: int = 0
) -> float:
    """Degrees of freedom that go with `nested_trial_variance`.

    Treatment at the top: N_0 - 2 - g. Below it, with random blocks: N_0 - 1 - g, the blocks at the top
    being what the average is taken over. With fixed blocks: their own effects are estimated, and
    N_t - 2 B - g are left, for N_t treated-level units in B blocks with an effect each.

    Parameters
    ----------
    numbers, treated_level
        As in `nested_trial_variance`.
    random_blocks : bool
        Whether the effect varies between blocks that are a sample of more.
    n_covariates : int
        Covariates g of the level that the degrees of freedom are counted at.
    """
    require_above("numbers", numbers, 0)
    require_at_least("n_covariates", n_covariates, 0)
    if not 0 <= treated_level < len(numbers):
        raise ValueError(f"treated_level must lie within 0 to {len(numbers) - 1}: {treated_level}")
    units = np.cumprod(np.asarray(numbers, dtype=float))
    if treated_level == 0:
        df = units[0] - 2
    elif random_blocks:
        df = units[0] - 1
    else:
        df = units[treated_level] - 2 * units[treated_level - 1]
    if df - n_covariates <= 0:
        raise ValueError(f"too few units: {df - n_covariates} degrees of freedom")
    return float(df - n_covariates)
