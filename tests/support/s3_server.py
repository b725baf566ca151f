"""A real S3 server on this machine, which checks keys, signatures and rights (moto's, Apache-2.0)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import boto3

from pipeline.demo.processes import free_port

BUCKET = "shop"
_REQUESTS_BEFORE_RIGHTS = 4
"""Those that `s3_server` makes itself; each one after them needs a key."""
_RIGHTS = ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
"""What docs/deployment.md says that the store needs."""


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Run a server with a bucket; yield the variables with which clients find it and sign."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--port", str(port)],
        env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(_REQUESTS_BEFORE_RIGHTS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield _prepared(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait()


def _prepared(url: str, process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Make a bucket, a user with rights on it alone, and a key."""
    login = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nobody"}
    clients = [boto3.client(name, "us-east-1", endpoint_url=url, **login) for name in ("iam", "s3")]
    iam, s3 = clients
    _wait_for(url, process)
    iam.create_user(UserName="learner")
    rights = {"Effect": "Allow", "Action": _RIGHTS, "Resource": [f"arn:aws:s3:::{BUCKET}*"]}
    iam.put_user_policy(
        UserName="learner",
        PolicyName="store",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [rights]}),
    )
    key = iam.create_access_key(UserName="learner")["AccessKey"]
    s3.create_bucket(Bucket=BUCKET)
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    host, port = url.removeprefix("http://").split(":")
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        assert process.poll() is None, "the server has ended"
        time.sleep(0.05)
