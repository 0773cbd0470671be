"""All routes of the page, and nothing else."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.page import account, acting, alerts, assets, login, portfolio, system

routes = APIRouter(include_in_schema=False)
for part in (portfolio, alerts, account, acting, system, login, assets):
    routes.include_router(part.routes)
