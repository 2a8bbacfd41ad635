"""The main job as the image runs it: user 10001 without capabilities, on a root file system that cannot be written."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.programs import INFRA, ROOT

ENTER = """
set -eu
root=$1; videos=$2; shift 2
read_only() { mkdir -p "$2"; mount --bind "$1" "$2"; mount -o remount,bind,ro "$2"; }
mount --make-rprivate /
read_only / "$root"
for folder in /proc /sys; do mount --rbind $folder "$root$folder"; done
mount -t tmpfs tmpfs "$root/dev"
for device in null zero random urandom full tty; do
    touch "$root/dev/$device"; mount --bind /dev/$device "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
for folder in /dev/shm /tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root$folder"; done
mount -t tmpfs -o mode=755 tmpfs "$root/root"
while [ "$1" != -- ]; do read_only "$1" "$root$1"; shift; done; shift
mount -t tmpfs -o mode=755 tmpfs "$root/mnt"
read_only "$videos" "$root/mnt/videos"
for folder in scratch results; do
    mkdir "$root/mnt/$folder"; mount -t tmpfs -o mode=700,uid=10001 tmpfs "$root/mnt/$folder"
done
mount -o remount,ro "$root/mnt"
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all "$@"
"""
"""Arguments: an empty folder, the videos, folders to keep where they are, `--`, the command."""


def _image_environment() -> dict[str, str]:
    """The variables of the Dockerfile, with /scratch where it is here."""
    text = (INFRA / "Dockerfile").read_text().replace("\\\n", "")
    pairs = [pair for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE) for pair in line.split()]
    return {
        name: value.replace("/scratch", "/mnt/scratch") for name, _, value in (pair.partition("=") for pair in pairs)
    }


@pytest.mark.accept
@pytest.mark.cluster
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="not checked: needs root and unshare")
def test_the_main_job_needs_no_rights_and_writes_where_it_may(drawn_manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    videos = shutil.copytree(drawn_manifest.parent, tmp_path / "videos")
    videos.chmod(0o755)
    kept = [str(ROOT), sys.prefix, sys.base_prefix]
    environment = {
        **_image_environment(), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT),
        "ANOMALYCLIP_STORAGE": "/mnt/results",
    }  # fmt: skip
    assigned = [f"{name}={value}" for name, value in environment.items()]
    job = ["python", f"{ROOT}/workflows/train.py", "/mnt/videos/manifest.csv", "--set", "training.epochs=2"]
    job += ["--set", "training.warmup_epochs=1", "--set", "training.batch_size=8"]
    tried = 'touch /x /var/x $0/x 2>/dev/null && exit 3; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", ENTER, "enter", str(tmp_path / "root"), str(videos)]
    command += [*kept, "--", "env", "-i", *assigned, "sh", "-c", tried, str(ROOT), *job]
    done = subprocess.run(command, text=True, capture_output=True, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["paths"]["run"].startswith("/mnt/results/runs/")
