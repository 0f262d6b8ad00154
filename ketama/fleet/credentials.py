"""How to prove oneself to the engine: from a file, the environment or arguments."""

from __future__ import annotations

import configparser
import errno
import os
import stat
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ketama.errors import KetamaError, KetamaOSError

PREFIX = "KETAMA_ETCD_"  # of the variables
CONFIG = f"{PREFIX}CONFIG"  # the variable with the path of a file
SECTION = "etcd"


class CredentialsError(KetamaError, ValueError):
    """A file of credentials is invalid, or what it says is incomplete."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the engine asks of a client. All but `password` may be seen by anybody.

    cacert: the path of the certificates that may sign the members' (PEM); None: the system's.
    cert, key: the paths of the client's own certificate and key (PEM), without a password.
    user, password: as whom to authenticate.
    """

    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        for one, other in (("cert", "key"), ("key", "cert"), ("user", "password")):
            if getattr(self, one) and not getattr(self, other):
                reason = (
                    f"credentials have {one} and no {other}: set {PREFIX}{other.upper()}, or "
                    f"{other} in the file that {CONFIG} names"
                )
                raise CredentialsError(reason)

    def check_files(self) -> None:
        """Check that the certificates and the key can be used, before they are needed.

        Raises KetamaOSError where a file cannot be read; CredentialsError where it is invalid,
        the key has a password, or is not the certificate's.
        """
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for path in filter(None, (self.cacert, self.cert, self.key)):
            _check_readable(path)
        path = self.cacert or ""
        try:
            if self.cacert:
                context.load_verify_locations(self.cacert)
            if self.cert and self.key:
                path = f"{self.cert}, {self.key}"
                # With a password, so that OpenSSL does not ask for one on the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
        except ssl.SSLError as error:
            reason = error.reason or "a password is needed, or this is not PEM"
            raise CredentialsError(f"{path}: invalid certificate or key: {reason}") from None

    def __repr__(self) -> str:
        shown = replace(self, password="***") if self.password else self  # noqa: S106
        values = ", ".join(f"{f.name}={getattr(shown, f.name)!r}" for f in fields(shown))
        return f"Credentials({values})"


_NAMES = tuple(field.name for field in fields(Credentials))


def find_credentials(config: str | os.PathLike[str] | None = None) -> Credentials:
    """Return the credentials of a file, and of the environment, which goes before it.

    config: the path of the file; None: the one that KETAMA_ETCD_CONFIG names, if any. It is an
        INI file with a section [etcd] that has any of cacert, cert, key, user and password.
        The variables are KETAMA_ETCD_CACERT, and so on.

    Raises CredentialsError where the file is invalid, or others can read its password;
    KetamaOSError where it cannot be read.
    """
    path = config if config is not None else os.environ.get(CONFIG)
    found = read_config(path) if path else {}
    for name in _NAMES:
        if value := os.environ.get(PREFIX + name.upper()):
            found[name] = value
    return Credentials(**found)


def read_config(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return what a file of credentials says, by name; raises what `find_credentials` does."""
    name = os.fspath(path)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with Path(path).open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            parser.read_file(file, name)
    except OSError as error:
        raise KetamaOSError(error.errno or errno.EIO, error.strerror, name) from None
    except UnicodeDecodeError:
        raise CredentialsError(f"{name}: invalid credentials: not UTF-8") from None
    except configparser.Error as error:
        raise _syntax_error(name, error) from None
    if parser.sections() != [SECTION]:
        raise CredentialsError(f"{name}: must have one section, [{SECTION}]")
    found = dict(parser[SECTION])
    for key in found:
        if key not in _NAMES:
            # A mistyped line may have the password to the left of a colon.
            shown = repr(key) if key.isidentifier() else "name"
            raise CredentialsError(
                f"{name}: unknown {shown:.40}: must be one of {', '.join(_NAMES)}"
            )
    if "password" in found and mode & stat.S_IROTH:
        raise CredentialsError(f"{name}: everybody can read the password: run chmod o-r {name}")
    return found


def _check_readable(path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise KetamaOSError(error.errno or errno.EIO, error.strerror, path) from None


def _syntax_error(name: str, error: configparser.Error) -> CredentialsError:
    """Return the error for a file; its lines are not shown, because one has the password."""
    rows = getattr(error, "errors", None)
    line = rows[0][0] if rows else getattr(error, "lineno", 0)
    reason = f"must be [{SECTION}], and then lines NAME = VALUE"
    twice = configparser.DuplicateOptionError, configparser.DuplicateSectionError
    if isinstance(error, twice):
        reason = "it is set already"
    return CredentialsError(f"{name}:{line}: invalid credentials: {reason}")
