"""OpenSSH's configuration for a host: as `ssh -G` resolves it, or as paramiko reads it where OpenSSH is missing."""

from __future__ import annotations

import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import getuid
from pathlib import Path
from typing import Final

from nel_action.errors import UsageError
from nel_action.executors.slurm.notices import waiting_for

__all__ = ["HostOptions", "check_supported", "resolve_host", "revoked_keys"]

RESOLVE_SECONDS: Final = 20
"""Time limit of `ssh -G`, which runs the commands of `Match exec`."""

SEVERAL: Final = frozenset({"identityfile", "certificatefile"})
"""Options that may occur several times."""

DEFAULT_KEYS: Final = ("id_ed25519", "id_ecdsa", "id_rsa")
"""Private keys in `~/.ssh` where OpenSSH is not installed."""

KNOWN_HOSTS: Final = ("known_hosts", "known_hosts2")
"""OpenSSH's default files of known hosts in `~/.ssh`."""

OFF: Final = frozenset({"no", "false", "none", ""})


@dataclass(frozen=True, slots=True)
class HostOptions:
    """OpenSSH's options for one host; names are in lower case."""

    values: Mapping[str, tuple[str, ...]]
    home: Path

    def get(self, name: str, default: str = "") -> str:
        """Return an option; the default if it is not set or `none`."""
        values = self.values.get(name, ())
        return values[0] if values and values[0].lower() != "none" else default

    def enabled(self, name: str, *, default: bool = False) -> bool:
        """Whether an option is on."""
        value = self.get(name)
        return default if not value else value.lower() not in OFF

    def paths(self, name: str) -> tuple[str, ...]:
        """Return an option's files, with `~` replaced."""
        values = [value for value in self.values.get(name, ()) if value.lower() != "none"]
        return tuple(re.sub(r"^~(?=/|$)", str(self.home), value) for value in values)

    def names(self, name: str) -> tuple[str, ...]:
        """Return the files of an option that has several in one value."""
        paths = [part for value in self.values.get(name, ()) for part in value.split() if part.lower() != "none"]
        return tuple(re.sub(r"^~(?=/|$)", str(self.home), part) for part in paths)


def resolve_host(host: str, environ: Mapping[str, str], *, user: str | None, port: int | None) -> HostOptions:
    """Return the options for a host.

    Args:
        host: the name as the spec writes it.
        environ: its `HOME` contains `.ssh/config`.
        user: the user that the spec names, for `Match user`.
        port: the port that the spec names.

    Raises:
        UsageError: the configuration cannot be read.
    """
    if host.startswith("-"):
        msg = f"{host!r} is not the name of a host"
        raise UsageError(msg, hint="check execution.hostname and proxy_jump")
    home = Path(environ.get("HOME") or "~").expanduser()
    program = shutil.which("ssh", path=environ.get("PATH") or "/usr/local/bin:/usr/bin:/bin")
    if program is None:
        return HostOptions(_read_without_openssh(host, home), home)
    config = home / ".ssh/config"
    # NOTE: ssh takes the home directory from the password database; another one has to be named.
    account_home = Path(pwd.getpwuid(getuid()).pw_dir)
    own_home = home == account_home
    arguments = [] if own_home else ["-F", str(config) if config.is_file() else "/dev/null"]
    arguments += ["-l", user] if user else []
    arguments += ["-p", str(port)] if port else []
    try:
        with waiting_for(f"the SSH configuration of {host} (ssh -G)"):
            result = subprocess.run(
                [program, "-G", *arguments, "--", host],
                env={**environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=RESOLVE_SECONDS,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"cannot resolve the SSH configuration of {host}: {error}"
        raise UsageError(msg, hint=f"check the commands of `Match exec` in {config}") from error
    if result.returncode:
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        cause = next((line for line in lines if " line " in line), lines[0] if lines else f"status {result.returncode}")
        msg = f"OpenSSH rejects the configuration of {host}: {cause.strip()}"
        raise UsageError(msg, hint="correct the line; ssh -G shows the same error")
    values = _parse(result.stdout.decode(errors="replace"))
    defaults = " ".join(f"{account_home}/.ssh/{name}" for name in KNOWN_HOSTS)
    if not own_home and values.get("userknownhostsfile") == (defaults,):
        values["userknownhostsfile"] = (" ".join(f"{home}/.ssh/{name}" for name in KNOWN_HOSTS),)
    return HostOptions(values, home)


def _parse(text: str) -> dict[str, tuple[str, ...]]:
    """Parse the output of `ssh -G`."""
    values: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in SEVERAL:
            values[name] = (*values.get(name, ()), value)
        else:
            values.setdefault(name, (value,))
    return values


def _read_without_openssh(host: str, home: Path) -> dict[str, tuple[str, ...]]:
    """Read `~/.ssh/config` with paramiko, which does not know `Include` and some conditions of `Match`.

    Raises:
        UsageError: the file cannot be read, or contains what paramiko does not know.
    """
    import paramiko

    defaults = {"identityfile": tuple(f"{home}/.ssh/{name}" for name in DEFAULT_KEYS)}
    path = home / ".ssh/config"
    if not path.is_file():
        return defaults
    install = "install the OpenSSH client on this machine, which reads it completely"
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        if re.search(r"^\s*(include|canonicalizehostname\s+(yes|always))\b", text, re.IGNORECASE | re.MULTILINE):
            msg = f"{path} uses Include or CanonicalizeHostname, which cannot be read without OpenSSH"
            raise UsageError(msg, hint=install)
        options = paramiko.SSHConfig.from_text(text).lookup(host)
    except (OSError, ValueError, KeyError, paramiko.SSHException) as error:
        msg = f"cannot read {path}: {error}"
        raise UsageError(msg, hint=install) from error
    values: dict[str, tuple[str, ...]] = {}
    several: Mapping[str, object] = options
    for name, value in several.items():
        values[name] = tuple(value) if isinstance(value, list) else (str(value),)
    return defaults | values


Check = tuple[str, Callable[[HostOptions], object], str]

UNSUPPORTED: Final[Sequence[Check]] = (
    ("ProxyUseFdpass", lambda options: options.enabled("proxyusefdpass"), "use ProxyJump or a ProxyCommand without it"),
    ("KnownHostsCommand", lambda options: options.get("knownhostscommand"), "set execution.known_hosts"),
    ("BindInterface", lambda options: options.get("bindinterface"), "use BindAddress"),
    ("Tunnel", lambda options: options.enabled("tunnel"), "remove it for this host"),
)
"""Options that change how to connect: name, condition and fix."""

UNSUPPORTED_KEYS: Final[Sequence[Check]] = (
    ("PKCS11Provider", lambda options: options.get("pkcs11provider"), "load the key into the SSH agent"),
    ("PubkeyAuthentication no", lambda options: not options.enabled("pubkeyauthentication", default=True), ""),
    (
        "PreferredAuthentications without publickey",
        lambda options: "publickey" not in options.get("preferredauthentications", "publickey"),
        "",
    ),
)
"""Options that change how to authenticate, for hosts without a key in the spec."""

PUBLIC_KEY: Final = "only public keys are supported; name one with execution.key_file or key_name"


def check_supported(host: str, options: HostOptions, *, own_key: bool) -> None:
    """Reject options that change how to connect and that cannot be honoured.

    Args:
        host: the host, for the message.
        options: its options.
        own_key: whether the spec names the key.

    Raises:
        UsageError: the message names the option.
    """
    for name, is_set, fix in [*UNSUPPORTED, *(() if own_key else UNSUPPORTED_KEYS)]:
        if is_set(options):
            msg = f"the SSH configuration of {host} sets {name}, which is not supported"
            raise UsageError(msg, hint=fix or PUBLIC_KEY)
    agent = options.get("identityagent", "SSH_AUTH_SOCK")
    if not own_key and agent != "SSH_AUTH_SOCK" and options.values.get("identityagent", ("",))[0] != "none":
        msg = f"the SSH configuration of {host} sets IdentityAgent {agent}, which is not supported"
        raise UsageError(msg, hint=f"set the variable SSH_AUTH_SOCK to it where nel-action runs: {agent}")


def revoked_keys(options: HostOptions) -> list[str]:
    """Return the lines of the file of revoked host keys.

    Raises:
        UsageError: it is a binary list.
    """
    lines: list[str] = []
    for path in options.paths("revokedhostkeys"):
        with suppress(OSError):
            data = Path(path).read_bytes()
            if data.startswith(b"SSHKRL"):
                msg = f"{path}: key revocation lists (RevokedHostKeys) are not supported"
                raise UsageError(msg, hint="use a file with public keys, one per line")
            lines += data.decode(errors="replace").splitlines()
    return lines
