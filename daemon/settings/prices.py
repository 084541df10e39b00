"""Prices per currency and period."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from daemon.settings.base import About, SettingsModel
from daemon.settings.types import Amount, Currency

PERIODS = ("day", "month", "quarter", "half_year", "year")


class PriceSettings(SettingsModel):
    """Amounts of one currency, in quotes."""

    setup: Annotated[Amount | None, About("paid once", why="nothing")] = None
    day: Annotated[Amount | None, About("paid per day", why="not sold by the day")] = None
    month: Annotated[Amount | None, About("paid per month", why="not sold by the month")] = None
    quarter: Annotated[Amount | None, About("paid per three months", why="not sold by the quarter")] = None
    half_year: Annotated[Amount | None, About("paid per six months", why="not sold by the half-year")] = None
    year: Annotated[Amount | None, About("paid per year", why="not sold by the year")] = None

    @property
    def periods(self) -> dict[str, Decimal]:
        """The periods that have a price."""
        found = ((period, getattr(self, period)) for period in PERIODS)
        return {period: amount for period, amount in found if amount is not None}


Prices = dict[Currency, PriceSettings]
