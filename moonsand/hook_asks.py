"""What the clients ask the HTTP API about hooks, callback endpoints and deliveries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from moonsand.exchange import Ask
from moonsand.listing_asks import Page, listing, nothing
from moonsand.path_part import path_part
from triggers.callbacks import DeliveryRecord, Endpoint
from triggers.hooks import Hook

T = TypeVar("T")
_HOOKS, _CALLBACKS, _DELIVERIES = "/v1/hooks", "/v1/callbacks", "/v1/deliveries"
#: A thing, and the secret that was made for it and is shown this once, if one was.
Made = tuple[T, str | None]


def create_hook(terms: Mapping[str, Any]) -> Ask[Made[Hook]]:
    """Ask for a hook; `terms` is the body."""
    return Ask("POST", _HOOKS, _made(Hook), json=dict(terms))


def get_hook(hook_id: str) -> Ask[Hook]:
    """Ask for one hook."""
    return Ask("GET", _path(_HOOKS, hook_id), Hook.model_validate)


def list_hooks(cursor: str | None = None) -> Ask[Page[Hook]]:
    """Ask for a page of hooks, newest first."""
    return listing(_HOOKS, Hook.model_validate, cursor)


def change_hook(hook_id: str, changes: Mapping[str, Any]) -> Ask[Hook]:
    """Ask for something of a hook to be different."""
    return Ask("PATCH", _path(_HOOKS, hook_id), Hook.model_validate, json=dict(changes))


def delete_hook(hook_id: str) -> Ask[None]:
    """Ask for the end of a hook."""
    return Ask("DELETE", _path(_HOOKS, hook_id), nothing)


def add_hook_secret(hook_id: str, secret: str | None) -> Ask[Made[Hook]]:
    """Ask for a further secret to count; without one it is made there."""
    body = {} if secret is None else {"secret": secret}
    return Ask("POST", f"{_path(_HOOKS, hook_id)}/secrets", _made(Hook), json=body)


def remove_hook_secret(hook_id: str, secret_id: str) -> Ask[Hook]:
    """Ask for a secret to count no more."""
    where = f"{_path(_HOOKS, hook_id)}/secrets/{path_part(secret_id)}"
    return Ask("DELETE", where, Hook.model_validate)


def create_callback(name: str, url: str | None) -> Ask[Made[Endpoint]]:
    """Ask for an endpoint; without `url` one for addresses that runs name."""
    body = {"name": name} if url is None else {"name": name, "url": url}
    return Ask("POST", _CALLBACKS, _made(Endpoint), json=body)


def get_callback(endpoint_id: str) -> Ask[Endpoint]:
    """Ask for one endpoint."""
    return Ask("GET", _path(_CALLBACKS, endpoint_id), Endpoint.model_validate)


def list_callbacks(cursor: str | None = None) -> Ask[Page[Endpoint]]:
    """Ask for a page of endpoints, newest first."""
    return listing(_CALLBACKS, Endpoint.model_validate, cursor)


def change_callback(endpoint_id: str, changes: Mapping[str, Any]) -> Ask[Endpoint]:
    """Ask for something of an endpoint to be different."""
    where = _path(_CALLBACKS, endpoint_id)
    return Ask("PATCH", where, Endpoint.model_validate, json=dict(changes))


def delete_callback(endpoint_id: str) -> Ask[None]:
    """Ask for the end of an endpoint."""
    return Ask("DELETE", _path(_CALLBACKS, endpoint_id), nothing)


def add_callback_secret(endpoint_id: str) -> Ask[Made[Endpoint]]:
    """Ask for a further secret to sign with."""
    return Ask("POST", f"{_path(_CALLBACKS, endpoint_id)}/secrets", _made(Endpoint))


def remove_callback_secret(endpoint_id: str, secret_id: str) -> Ask[Endpoint]:
    """Ask for a secret to sign no more."""
    where = f"{_path(_CALLBACKS, endpoint_id)}/secrets/{path_part(secret_id)}"
    return Ask("DELETE", where, Endpoint.model_validate)


def list_deliveries(endpoint_id: str, limit: int) -> Ask[list[DeliveryRecord]]:
    """Ask for the newest deliveries of an endpoint."""

    def read(found: Any) -> list[DeliveryRecord]:
        return [DeliveryRecord.model_validate(one) for one in found["data"]]

    where = f"{_path(_CALLBACKS, endpoint_id)}/deliveries"
    return Ask("GET", where, read, params={"limit": str(limit)})


def get_delivery(delivery_id: str) -> Ask[DeliveryRecord]:
    """Ask for one delivery and its attempts."""
    return Ask("GET", _path(_DELIVERIES, delivery_id), DeliveryRecord.model_validate)


def replay_delivery(delivery_id: str) -> Ask[DeliveryRecord]:
    """Ask for a delivery to be sent again at once."""
    where = f"{_path(_DELIVERIES, delivery_id)}/replay"
    return Ask("POST", where, DeliveryRecord.model_validate)


def _made(kind: type[Hook | Endpoint]) -> Callable[[Any], Any]:
    def read(found: Any) -> Any:
        if not isinstance(found, dict):
            raise ValueError("no object")  # noqa: TRY004 (who calls knows it as a bad answer)
        secret = found.pop("secret", None)
        return kind.model_validate(found), secret

    return read


def _path(base: str, one: str) -> str:
    return f"{base}/{path_part(one)}"
