"""SSRL, stage 1: Li et al., "Scale-aware spatio-temporal relation learning for video anomaly detection", ECCV 2022.

Stage 1 of its four is RTFM. Stages 2 to 4 add features of 49 regions of a frame, which are other pixels through the
backbone: one stored vector per frame does not hold them, and crops are no substitute. So this is RTFM, which the
comparison trains from the authors' seed 10; it is a lower bound of SSRL.
"""

from anomalyclip.baselines.rtfm import RTFM


class SSRL(RTFM):
    """RTFM under the name of SSRL's first stage."""

    title = "SSRL stage 1"
