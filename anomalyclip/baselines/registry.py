"""The competitors by name: the values of `model.method` beside `anomalyclip`."""

from collections.abc import Mapping

from anomalyclip.baselines.action_clip import ActionCLIP
from anomalyclip.baselines.baseline import Baseline
from anomalyclip.baselines.rtfm import RTFM
from anomalyclip.baselines.s3r import S3R
from anomalyclip.baselines.ssrl import SSRL
from anomalyclip.baselines.sultani import Sultani
from anomalyclip.baselines.vad_clip import VadCLIP

COMPETITORS: Mapping[str, type[Baseline]] = {
    "sultani": Sultani,
    "rtfm": RTFM,
    "s3r": S3R,
    "ssrl": SSRL,
    "actionclip": ActionCLIP,
    "vadclip": VadCLIP,
}
