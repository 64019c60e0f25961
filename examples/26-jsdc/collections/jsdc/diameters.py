"""Angular diameters of stars from their colours."""

import pyarrow.compute as pc


def limb_darkened_diameter(vmag, kmag) -> "float64 {mas}":
    """Compute the diameter by the relation of Kervella et al. (2004) for dwarfs, log d = 0.0755 (V-K) + 0.5170 - 0.2 K."""
    color = pc.multiply(pc.subtract(vmag, kmag), 0.0755)
    return pc.power(10.0, pc.add(pc.subtract(color, pc.multiply(kmag, 0.2)), 0.5170))
