"""K-LMS without SciPy.

diffusers integrates its Lagrange polynomials with ``scipy.integrate.quad``, which the package would
be needed for alone. Its rule is a published one (21-point Gauss-Kronrod, Piessens et al. 1983,
QUADPACK), and at the same nodes in the same fp32 the coefficients come out as diffusers' do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The package hides this class where SciPy is not installed.
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler

_HALF_NODES = (
    0.995657163025808080735527280689003,
    0.973906528517171720077964012084452,
    0.930157491355708226001207180059508,
    0.865063366688984510732096688423493,
    0.780817726586416897063717578345042,
    0.679409568299024406234327365114874,
    0.562757134668604683339000099272694,
    0.433395394129247190799265943165784,
    0.294392862701460198131126603103866,
    0.148874338981631210884826001129720,
)
_HALF_WEIGHTS = (
    0.011694638867371874278064396062192,
    0.032558162307964727478818972459390,
    0.054755896574351996031381300244580,
    0.075039674810919952767043140916190,
    0.093125454583697605535065465083366,
    0.109387158802297641899210590325805,
    0.123491976262065851077958109585166,
    0.134709217311473325928054001771707,
    0.142775938577060080797094273138717,
    0.147739104901338491374841515972068,
)
_MIDDLE_WEIGHT = 0.149445554002916905664936468389821

NODES = np.array([*(-node for node in _HALF_NODES), 0.0, *reversed(_HALF_NODES)])
"""Where the rule looks, in -1..1."""

WEIGHTS = np.array([*_HALF_WEIGHTS, _MIDDLE_WEIGHT, *reversed(_HALF_WEIGHTS)])
"""What each look counts; they sum to 2."""


class LinearMultistepScheduler(LMSDiscreteScheduler):  # type: ignore[misc]  # diffusers is untyped
    """diffusers' K-LMS with its own integrator."""

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        """Integrate the ``current_order``-th Lagrange polynomial over step ``t``.

        Args:
            order: Points that the polynomial passes through, 1 to 4.
            t: Index of the step.
            current_order: The point at which the polynomial is 1; at the others it is 0.
        """
        sigmas: npt.NDArray[np.float32] = self.sigmas.numpy()
        start, end = float(sigmas[t]), float(sigmas[t + 1])
        half, middle = (end - start) / 2, (end + start) / 2
        at = (middle + half * NODES).astype(np.float32)
        values = np.ones_like(at)
        for k in range(order):
            if k != current_order:
                values *= (at - sigmas[t - k]) / (sigmas[t - current_order] - sigmas[t - k])
        return half * float(WEIGHTS @ values.astype(np.float64))
