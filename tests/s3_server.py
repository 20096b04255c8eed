"""An S3 of the tests' own, on a free port: moto's server, real HTTP. What it holds is lost when it stops."""

import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from tests.real import free_port

START_SECONDS = 60
KEYS = {
    "AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


class S3Server:
    """A server that can be stopped and started again, then empty."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}
        self._log = folder / "s3.log"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **KEYS}, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, "the S3 server did not answer"
        return self

    def stop(self):
        self.process.terminate()
        self.process.wait(START_SECONDS)

    def upload(self, folder, bucket, prefix):
        """Put the files of a folder under a prefix of a bucket, which is made."""
        client = self._client()
        client.create_bucket(Bucket=bucket)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            client.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())
        client.close()

    def mark(self, bucket, key):
        """Put an empty object, as consoles do to show a folder."""
        client = self._client()
        client.put_object(Bucket=bucket, Key=key)
        client.close()

    @contextmanager
    def denied(self):
        """Meanwhile nobody may do anything."""
        self._allow(0)
        try:
            yield
        finally:
            self._allow(10**9)

    def remove(self, bucket, key):
        client = self._client()
        client.delete_object(Bucket=bucket, Key=key)
        client.close()

    def asked(self, method, place):
        """How often something was asked for."""
        return sum(f'"{method} {place}' in line for line in self._log.read_text().splitlines())

    def _answers(self):
        client = self._client()
        try:
            client.list_buckets()
        except EndpointConnectionError:
            time.sleep(0.05)
            return False
        finally:
            client.close()
        return True

    def _allow(self, requests):
        address = f"{self.environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        request = urllib.request.Request(address, str(requests).encode(), {"Content-Type": "text/plain"})  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own
            assert answer.status == 200

    def _client(self):
        config = Config(retries={"max_attempts": 0}, connect_timeout=1)
        return boto3.client(
            "s3", KEYS["AWS_DEFAULT_REGION"], endpoint_url=self.environment["AWS_ENDPOINT_URL"], config=config,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
