"""SSH keys of one guest: new for each boot, on disk only in the guest's archive."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.lib import cpio

_TYPE = b"ssh-ed25519"


@dataclass(frozen=True)
class Keys:
    """The guest's host key, and the client key that the guest accepts."""

    host: paramiko.Ed25519Key
    client: paramiko.Ed25519Key
    #: Private client key in OpenSSH's format, for the ssh command.
    client_private: str
    #: Private host key in dropbear's own format.
    host_private: bytes
    authorized: bytes

    def archive(self) -> bytes:
        """Return a cpio archive that follows the image's in the initramfs."""
        return cpio.pack(
            [
                cpio.file("etc/dropbear/host_key", self.host_private, 0o600),
                cpio.folder("root", 0o700),
                cpio.folder("root/.ssh", 0o700),
                cpio.file("root/.ssh/authorized_keys", self.authorized, 0o600),
            ]
        )


def generate() -> Keys:
    """Return two new key pairs. Ed25519 signatures are the fastest under emulation."""
    host, client = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    client_private = openssh_private(client)
    client_key = _paramiko(client_private)
    return Keys(
        host=_paramiko(openssh_private(host)),
        client=client_key,
        client_private=client_private,
        host_private=dropbear_private(host),
        authorized=f"ssh-ed25519 {client_key.get_base64()} harness\n".encode(),
    )


def dropbear_private(key: Ed25519PrivateKey) -> bytes:
    """Return ``key`` in dropbear's format: its type, then seed and public key as one string."""
    seed = key.private_bytes_raw()
    public = key.public_key().public_bytes_raw()
    return b"".join(struct.pack(">I", len(part)) + part for part in (_TYPE, seed + public))


def openssh_private(key: Ed25519PrivateKey) -> str:
    """Return ``key`` in OpenSSH's format, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()


def _paramiko(private: str) -> paramiko.Ed25519Key:
    return paramiko.Ed25519Key.from_private_key(io.StringIO(private))
