"""Keys: who asks, and what they may do. Keys are kept as SHA-256 and compared in constant time, every one of them.

The middleware `trimtab.server.middleware.authentication` resolves the caller of every request; routes state the scope they
need with `require`.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request

from trimtab.server.config_file import ConfigFileError
from trimtab.server.errors import Forbidden, Unauthenticated
from trimtab.server.exchange import Principal
from trimtab.server.settings import KeyConfig, PolicyConfig, Scope

PRINCIPAL = "trimtab.principal"
"""Where the middleware leaves the caller in the ASGI scope."""


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    principal: Principal


class Keyring:
    """The keys of a server. Without any, everybody is `anonymous` and may do everything."""

    def __init__(self, keys: Sequence[KeyConfig], policies: Sequence[PolicyConfig]) -> None:
        names = [key.name for key in keys]
        for name in names:
            if names.count(name) > 1:
                raise ConfigFileError(f"keys: the name {name!r} is given twice; every key needs a name of its own")
        _check_named(names, policies)
        self._keys = tuple(_Key(_digest(key), _principal(key, policies)) for key in keys)
        policy = _policy("anonymous", policies)
        everything = Principal().scopes
        self._anonymous = Principal(
            scopes=everything if policy is None or policy.scopes is None else policy.scopes, policy=policy
        )

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._keys

    def principal(self, name: str) -> Principal | None:
        """Who a key of this name is; None where there is no such key, or where keys are needed now and the name is of none."""
        if self.is_open:
            return self._anonymous if name == self._anonymous.name else None
        return next((key.principal for key in self._keys if key.principal.name == name), None)

    def identify(self, authorization: str | None) -> Principal:
        """The caller behind an `Authorization` header. Raises Unauthenticated."""
        if self.is_open:
            return self._anonymous
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("No API key was given. Send it as `Authorization: Bearer KEY`.")
        digest = hashlib.sha256(token.strip().encode()).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.principal
        if found is None:
            raise Unauthenticated("The API key is not valid.")
        return found


def everybody(policies: Sequence[PolicyConfig]) -> Principal:
    """Who asks without a server: the policies that hold for everybody hold, locks included."""
    return Keyring((), [policy for policy in policies if policy.key in {"*", "anonymous"}]).identify(None)


def require(*scopes: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the caller, who has one of the scopes. Raises Forbidden (403) where the key lacks them."""

    async def principal(request: Request) -> Principal:
        caller = request.scope.get(PRINCIPAL)
        if not isinstance(caller, Principal):
            raise Unauthenticated("No API key was given. Send it as `Authorization: Bearer KEY`.")
        if caller.scopes.isdisjoint(scopes):
            allowed = ", ".join(sorted(caller.scopes)) or "none"
            needed = " or ".join(map(repr, scopes))
            raise Forbidden(f"this needs the scope {needed}; the key {caller.name!r} has: {allowed}")
        return caller

    return principal


def _check_named(names: Sequence[str], policies: Sequence[PolicyConfig]) -> None:
    """Raise ConfigFileError for a policy that no caller can meet: a misspelt key would be a key without its lock."""
    known = names or ["anonymous"]
    for policy in policies:
        if policy.key != "*" and policy.key not in known:
            shown = ", ".join(known) if names else "anonymous (there are no keys)"
            raise ConfigFileError(f"policies: no key is called {policy.key!r}; a policy is for '*' (everybody) or for: {shown}")


def _digest(key: KeyConfig) -> bytes:
    if (key.key is None) == (key.sha256 is None):
        raise ConfigFileError(f"keys: {key.name!r} needs exactly one of `key` and `sha256`")
    if key.key is None:
        return bytes.fromhex(key.sha256 or "")
    secret = key.key.get_secret_value().strip()
    if not secret:
        raise ConfigFileError(f"keys: {key.name!r} has an empty key")
    return hashlib.sha256(secret.encode()).digest()


def _principal(key: KeyConfig, policies: Sequence[PolicyConfig]) -> Principal:
    policy = _policy(key.name, policies)
    scopes = policy.scopes if policy and policy.scopes is not None else key.scopes
    return Principal(name=key.name, scopes=scopes, policy=policy)


def _policy(name: str, policies: Sequence[PolicyConfig]) -> PolicyConfig | None:
    return next((policy for policy in policies if policy.key in {name, "*"}), None)
