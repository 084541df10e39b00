"""Add-ons of a plan and the rules they follow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from daemon.settings.base import About, Place, SettingsModel
from daemon.settings.prices import Prices
from daemon.settings.types import Text, Texts, Whole

SPECIAL_BLOCK = re.compile(r"special_ip_block_([A-Za-z0-9_.-]{1,64})", re.ASCII)
COUNTED = frozenset({"ip", "ipv6", "privateip"})
CHOSEN = frozenset({"ostempl", "recipe"})
# Known to the panels, not acted on in this release: see docs/reference/contracts.md.
KNOWN_LATER = frozenset(
    {"panel", "ns", "bandwidth", "portspeed", "ncpu", "cpu", "ram"}
    | {f"hdd_{n}" for n in range(1, 13)}
    | {f"pci_{n}" for n in range(1, 5)}
)
_NAMES = "ip, ipv6, privateip, ostempl, recipe and special_ip_block_<type>"
MOST = 256
Fault = tuple[Place, str]


class AddonSettings(SettingsModel):
    """One add-on: `ip`, `ipv6` and `privateip` are numbers; `ostempl`, `recipe` and `special_ip_block_<type>` are values."""

    billing: Annotated[
        Literal["do_not_count", "included", "client_selects", "amount", "by_statistics"],
        About(
            "how it is billed; do_not_count: given, never priced; included: part of the plan; client_selects: one of the values; "
            "amount: a number the customer orders; by_statistics: by what was used (not supported yet)"
        ),
    ]
    values: Annotated[Texts | None, About("what may be chosen", why="nothing to choose"), Field(max_length=1000)] = None
    default: Annotated[Text | Whole | None, About("taken when an order leaves it out", why="it isn't given")] = None
    required: Annotated[
        bool | None,
        About(
            "refuse an order that leaves it out and gets no default",
            why="true for ostempl, false for others",
        ),
    ] = None
    min: Annotated[Whole | None, About("least number that can be ordered", why="0, and 1 for ip"), Field(le=65536)] = (
        None
    )
    max: Annotated[
        Whole | None,
        About("greatest number that can be ordered", why="256, so that a typing error stays cheap"),
        Field(le=65536),
    ] = None
    included: Annotated[
        Whole | None,
        About("how many of the ordered number the plan's own price covers", why="every one is priced"),
        Field(le=65536),
    ] = None
    prices: Annotated[
        Prices, About('price of one, per currency and period: {EUR: {month: "2.00"}}', why="costs nothing")
    ] = Field(default_factory=dict)

    def is_required(self, name: str) -> bool:
        return name == "ostempl" if self.required is None else self.required

    def least(self, name: str) -> int:
        """The least number that can be ordered; the main address is one of `ip`."""
        return int(name == "ip") if self.min is None else self.min

    @property
    def most(self) -> int:
        return MOST if self.max is None else self.max

    @property
    def fixed(self) -> int:
        """The number that billing `included` gives."""
        if self.included is not None:
            return self.included
        return self.default if isinstance(self.default, int) else 1


def special_block(name: str) -> str | None:
    """The address type that `special_ip_block_<type>` takes a main address from."""
    match = SPECIAL_BLOCK.fullmatch(name)
    return match[1] if match else None


def addon_faults(addons: Mapping[str, AddonSettings]) -> Iterator[Fault]:
    """Everything that is wrong with the add-ons of one plan."""
    for name, addon in addons.items():
        place: Place = (name,)
        if name in KNOWN_LATER:
            yield from _later_faults(place, name, addon)
        elif name in COUNTED:
            yield from _counted_faults(place, name, addon)
        elif name in CHOSEN or special_block(name):
            yield from _chosen_faults(place, name, addon)
        else:
            yield place, f"is not a known add-on; known are {_NAMES}"
    always = sorted(name for name, addon in addons.items() if special_block(name) and _always(name, addon))
    for name in always[1:]:
        yield (name,), f"would always be taken together with {always[0]}: a service has one main address"


def price_faults(name: str, addon: AddonSettings, plan: Prices) -> Iterator[Fault]:
    """An add-on that costs something costs it in every currency and period of the plan: a gap would be given away."""
    if not addon.prices:
        return
    place: Place = (name, "prices")
    if addon.billing in {"do_not_count", "included"}:
        yield place, f"have no use with billing {addon.billing}"
        return
    by_period = any(price.periods for price in addon.prices.values())
    for currency in addon.prices.keys() - plan.keys():
        yield (*place, currency), f"the plan has no prices in {currency}"
    for currency, price in plan.items():
        own = addon.prices.get(currency)
        if own is None:
            yield place, f"expected prices in {currency} too, as the plan has them"
            continue
        for period in own.periods.keys() - price.periods.keys():
            yield (*place, currency, period), f"the plan isn't sold by {period} in {currency}"
        missing = [period for period in price.periods if period not in own.periods] if by_period else []
        for period in missing:
            yield (*place, currency), f"expected a price for {period} too, as the plan has one"


def _later_faults(place: Place, name: str, addon: AddonSettings) -> Iterator[Fault]:
    if addon.billing not in {"do_not_count", "included"}:
        text = f"{name} can't be ordered yet: expected do_not_count or included, got {addon.billing}"
        yield (*place, "billing"), text
    if addon.required:
        yield (*place, "required"), f"{name} can't be ordered yet"


def _counted_faults(place: Place, name: str, addon: AddonSettings) -> Iterator[Fault]:
    if addon.billing not in {"amount", "included", "do_not_count"}:
        yield (*place, "billing"), f"{name} is a number: expected amount, included or do_not_count, got {addon.billing}"
        return
    if addon.values is not None:
        yield (*place, "values"), f"{name} is a number and has no values"
    if isinstance(addon.default, str):
        yield (*place, "default"), f'expected a whole number, got "{addon.default}"'
        return
    least = addon.least(name)
    if least < int(name == "ip"):
        yield (*place, "min"), "expected at least 1: the main address counts"
    if addon.billing == "included":
        yield from _fixed_faults(place, name, addon)
        return
    if addon.most < least:
        yield (*place, "max"), f"expected at least {least}, the least number, got {addon.most}"
    elif addon.default is not None and not least <= addon.default <= addon.most:
        yield (*place, "default"), f"expected a number from {least} to {addon.most}, got {addon.default}"
    if addon.included is not None and addon.included > addon.most:
        yield (*place, "included"), f"expected at most {addon.most}, the greatest number, got {addon.included}"


def _fixed_faults(place: Place, name: str, addon: AddonSettings) -> Iterator[Fault]:
    for field in ("min", "max"):
        if getattr(addon, field) is not None:
            yield (*place, field), "has no use with billing included: the number is `included`"
    if addon.included is not None and addon.default is not None:
        yield (*place, "default"), "has no use beside `included`, the number that is part of the plan"
    if addon.fixed < int(name == "ip"):
        yield (*place, "included"), "expected at least 1: the main address counts"


def _chosen_faults(place: Place, name: str, addon: AddonSettings) -> Iterator[Fault]:
    block = special_block(name)
    if addon.billing not in {"client_selects", "included", "do_not_count"}:
        text = f"{name} is a choice: expected client_selects, included or do_not_count, got {addon.billing}"
        yield (*place, "billing"), text
        return
    for field in ("min", "max", "included"):
        if getattr(addon, field) is not None:
            yield (*place, field), f"{name} is a choice, not a number"
    if isinstance(addon.default, int):
        yield (*place, "default"), f"expected text in quotes, got {addon.default}"
        return
    if addon.billing == "client_selects" and not addon.values:
        yield place, "expected values, what may be chosen"
    elif addon.billing == "included" and addon.default is None:
        yield place, "expected default, the value that is part of the plan"
    elif addon.billing == "do_not_count" and not block and addon.default is None and not addon.values:
        yield place, "expected values, what may be chosen, or default"
    if addon.values is not None and len(set(addon.values)) != len(addon.values):
        yield (*place, "values"), "expected each value once"
    if addon.values and addon.default is not None and addon.default not in addon.values:
        yield (*place, "default"), f'expected one of the values, got "{addon.default}"'
    if block and addon.billing == "client_selects" and addon.values and block not in addon.values:
        yield (*place, "values"), f"expected one of them to be {block}, the value that takes the block"


def _always(name: str, addon: AddonSettings) -> bool:
    """Whether every order takes this special block, whatever it says."""
    if addon.billing == "do_not_count":
        return True
    return addon.billing == "included" and addon.default == special_block(name)
