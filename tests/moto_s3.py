"""Moto's S3 for tests: a store that others have written, in a process of its own."""

from __future__ import annotations

import atexit
import subprocess
from functools import cache
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

BUCKET = "moto"
_ROOT = Path(__file__).parent.parent
_PYTHON = _ROOT / ".tools" / "moto" / "bin" / "python"
_START_S = 60


@cache
def moto_s3() -> dict[str, str]:
    """Start it, once for all tests of this process; give the variables by which it is found."""
    if not _PYTHON.exists():
        pytest.skip("moto is not installed: `make .tools/moto/.ready`")
    process = subprocess.Popen(
        [_PYTHON, _ROOT / "tests" / "moto_host.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(_end, process)
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(process.stdout.readline())}"
    signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"
    request = Request(f"{url}/{BUCKET}", method="PUT", headers={"Authorization": signed})  # noqa: S310 (our own)
    urlopen(request, timeout=_START_S).close()  # noqa: S310 (our own)
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
