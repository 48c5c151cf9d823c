"""The composition root of the accepting side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api import (
    approvals,
    batches,
    bundles,
    callbacks,
    cancelling,
    connections,
    credentials,
    docs,
    events,
    grants,
    health,
    hooks,
    keys,
    ledger,
    limits,
    mux_webhooks,
    pages,
    plans,
    problems,
    quotas,
    runs,
    saved_scripts,
    schedules,
    schema,
    syncs,
    tenants,
    usage,
)
from api.metrics import Requests
from api.metrics_listener import bind, listening
from api.middleware import RequestContext
from api.services import open_services
from core.settings import Settings
from integrations.catalog import Catalog


def create_app(settings: Settings) -> FastAPI:
    """
    Make the application; it connects to Redis when it starts, not before.

    Raises:
        PackInvalid: a pack of the operator's own cannot be used.
        Unavailable: the port for metrics cannot be listened on.
    """
    catalog = Catalog.load(operator=settings.packs_dir)
    requests, bound = Requests(), bind(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_services(settings, catalog) as services,
            listening(bound, services, requests) as app.state.metrics_port,
        ):
            app.state.services = services
            yield

    app = FastAPI(
        title="Moonsand",
        version=version("moonsand"),
        lifespan=lifespan,
        docs_url=None,  # those pages load code from a foreign host
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.shelf = docs.Shelf.of(catalog, whole=settings.packs_dir is None)
    app.include_router(runs.router)
    app.include_router(cancelling.router)
    app.include_router(batches.router)
    app.include_router(saved_scripts.router)
    app.include_router(schedules.router)
    app.include_router(plans.router)
    app.include_router(quotas.router)
    app.include_router(approvals.router)
    app.include_router(events.router)
    app.include_router(credentials.router)
    app.include_router(grants.router)
    app.include_router(tenants.router)
    app.include_router(keys.router)
    app.include_router(limits.router)
    app.include_router(usage.router)
    app.include_router(connections.router)
    app.include_router(syncs.router)
    app.include_router(mux_webhooks.router)
    app.include_router(hooks.router)
    app.include_router(hooks.events)
    app.include_router(callbacks.router)
    app.include_router(callbacks.deliveries)
    app.include_router(docs.router)
    app.include_router(ledger.router)
    app.include_router(bundles.router)
    app.include_router(health.router)
    app.include_router(pages.router)
    problems.install(app)
    schema.install(app)
    app.add_middleware(RequestContext, requests=requests)
    return app
