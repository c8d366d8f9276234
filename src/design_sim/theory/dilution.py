"""Dilution: what unreliable measurement and partial uptake leave of an effect, and what it costs."""

from design_sim.theory.ranges import require_above, require_share


def attenuated_slope(slope: float, reliability: float, r_squared: float = 0.0) -> float:
    """What least squares tends to when the regressor, such as fidelity, is measured with error.

    slope x (reliability - R^2) / (1 - R^2): classical error, independent of everything else. Covariates
    make it worse, since they take true variance out of the regressor and leave the error.

    Parameters
    ----------
    slope : float
        Slope on the true regressor.
    reliability : float
        Share of the measured regressor's variance that is true, above 0 and at most 1.
    r_squared : float
        Share of the measured regressor's variance that error-free covariates of the model explain;
        below the reliability.

    References
    ----------
    Carroll, Ruppert, Stefanski and Crainiceanu (2006), Measurement Error in Nonlinear Models, section
    3.3.

    Examples
    --------
    >>> round(attenuated_slope(0.5, reliability=0.8, r_squared=0.3), 3)
    0.357
    """
    if not 0 <= r_squared < reliability <= 1:
        raise ValueError(f"0 <= r_squared < reliability <= 1 needed: {r_squared}, {reliability}")
    return slope * (reliability - r_squared) / (1 - r_squared)


def intention_to_treat_effect(complier_effect: float, compliance: float) -> float:
    """Effect of the offer, when only compliers take it up and nobody else can get it.

    compliance x complier effect (Bloom, 1984, Evaluation Review 8, 225-246; Angrist, Imbens and Rubin,
    1996, Journal of the American Statistical Association 91, 444-455). Backwards: the MDES among
    recipients is that of the intention-to-treat analysis over compliance.
    """
    require_share("compliance", compliance)
    return compliance * complier_effect


def sample_inflation(effect_kept: float) -> float:
    """Factor by which a sample must grow to keep its power when an effect is diluted.

    1 / kept^2, the outcome's variance taken as unchanged. For uptake, kept is the compliance. For an
    unreliable regressor, it is sqrt(reliability), by which a correlation shrinks, hence
    1 / reliability.

    Examples
    --------
    >>> sample_inflation(0.5)
    4.0
    """
    require_above("effect_kept", effect_kept, 0)
    return 1 / effect_kept**2
