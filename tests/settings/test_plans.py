"""Tariff plans: the rules of add-ons and prices, and the id of what is sold."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from daemon.settings import PlanSettings
from daemon.settings.problems import Problem
from daemon.settings.tree import parse_tree
from daemon.settings.validate import validate

HEAD = 'name: p\nserver_type: T\nmodules: [m]\nprices: {EUR: {setup: "1.00", month: "49.00"}}\naddons:\n'


def plan(addons: str, head: str = HEAD) -> tuple[PlanSettings | None, list[str]]:
    root, found = parse_tree(head + addons, "plan.yaml")
    assert root is not None, found
    value, problems = validate(PlanSettings, root, "plan.yaml")
    shown = sorted(set(problems))
    assert all(isinstance(problem, Problem) for problem in shown)
    return value, [re.sub(r"^plan\.yaml:\d+:\d+: addons\.", "", str(problem)) for problem in shown]


def good(addons: str) -> PlanSettings:
    value, problems = plan(addons)
    assert problems == []
    assert value is not None
    return value


@pytest.mark.parametrize(
    "addons",
    [
        "  ip: {billing: amount}",
        "  ip: {billing: amount, min: 1, max: 4, default: 2, included: 1, prices: {EUR: {month: '2'}}}",
        "  ip: {billing: amount, prices: {EUR: {setup: '2'}}}",
        "  ip: {billing: included, included: 3}",
        "  ip: {billing: included, default: 3}",
        "  ip: {billing: do_not_count}",
        "  ipv6: {billing: do_not_count, max: 3}",
        "  privateip: {billing: amount, max: 1, required: true}",
        "  ostempl: {billing: client_selects, values: [a, b], default: a, prices: {EUR: {month: '1'}}}",
        "  ostempl: {billing: included, default: a}",
        "  recipe: {billing: do_not_count, values: ['null', '#local__x']}",
        "  special_ip_block_vlan9: {billing: do_not_count}",
        "  special_ip_block_vlan9: {billing: client_selects, values: [vlan9, none], default: none}",
        "  ram: {billing: included, default: 16}",
        "  hdd_12: {billing: do_not_count}",
    ],
)
def test_these_add_ons_are_fine(addons: str):
    good(addons)


@pytest.mark.parametrize(
    ("addons", "expected"),
    [
        ("  ipp: {billing: amount}", "ipp: is not a known add-on; known are ip, ipv6, privateip, ostempl, recipe and special_ip_block_<type>"),
        ("  ip: {billing: amount, min: 0}", "ip.min: expected at least 1: the main address counts"),
        ("  ip: {billing: amount, min: 5, max: 4}", "ip.max: expected at least 5, the least number, got 4"),
        ("  ip: {billing: amount, max: 4, default: 5}", "ip.default: expected a number from 1 to 4, got 5"),
        ("  ip: {billing: amount, max: 4, default: 0}", "ip.default: expected a number from 1 to 4, got 0"),
        ("  ip: {billing: amount, max: 4, default: two}", 'ip.default: expected a whole number, got "two"'),
        ("  ip: {billing: amount, max: 4, included: 5}", "ip.included: expected at most 4, the greatest number, got 5"),
        ("  ip: {billing: amount, max: 65537}", "ip.max: expected a number of at most 65536, got 65537"),
        ("  ip: {billing: included, included: 0}", "ip.included: expected at least 1: the main address counts"),
        ("  ip: {billing: included, max: 3}", "ip.max: has no use with billing included: the number is `included`"),
        ("  ip: {billing: included, included: 1, default: 2}", "ip.default: has no use beside `included`, the number that is part of the plan"),
        ("  ip: {billing: by_statistics}", "ip.billing: ip is a number: expected amount, included or do_not_count, got by_statistics"),
        ("  ip: {billing: client_selects, values: ['1']}", "ip.billing: ip is a number: expected amount, included or do_not_count, got client_selects"),
        ("  ip: {billing: amount, values: [a]}", "ip.values: ip is a number and has no values"),
        ("  ip: {billing: included, prices: {EUR: {month: '1'}}}", "ip.prices: have no use with billing included"),
        ("  ip: {billing: amount, prices: {USD: {month: '1'}, EUR: {month: '1'}}}", "ip.prices.USD: the plan has no prices in USD"),
        ("  ip: {billing: amount, prices: {EUR: {year: '1', month: '1'}}}", "ip.prices.EUR.year: the plan isn't sold by year in EUR"),
        ("  ip: {billing: amount}\n  ipv6: {billing: amont}", 'ipv6.billing: expected do_not_count, included, client_selects, amount or by_statistics, got "amont"'),
        ("  ostempl: {billing: client_selects}", "ostempl: expected values, what may be chosen"),
        ("  ostempl: {billing: client_selects, values: []}", "ostempl: expected values, what may be chosen"),
        ("  ostempl: {billing: client_selects, values: [a, a]}", "ostempl.values: expected each value once"),
        ("  ostempl: {billing: client_selects, values: [a], default: b}", 'ostempl.default: expected one of the values, got "b"'),
        ("  ostempl: {billing: client_selects, values: [a], max: 2}", "ostempl.max: ostempl is a choice, not a number"),
        ("  ostempl: {billing: amount}", "ostempl.billing: ostempl is a choice: expected client_selects, included or do_not_count, got amount"),
        ("  ostempl: {billing: do_not_count}", "ostempl: expected values, what may be chosen, or default"),
        ("  ostempl: {billing: included}", "ostempl: expected default, the value that is part of the plan"),
        ("  recipe: {billing: included, default: 5}", "recipe.default: expected text in quotes, got 5"),
        ("  special_ip_block_v9: {billing: client_selects, values: [v8]}", "special_ip_block_v9.values: expected one of them to be v9, the value that takes the block"),
        ("  special_ip_block_a: {billing: do_not_count}\n  special_ip_block_b: {billing: do_not_count}", "special_ip_block_b: would always be taken together with special_ip_block_a: a service has one main address"),
        ("  special_ip_block_: {billing: do_not_count}", "special_ip_block_: is not a known add-on; known are ip, ipv6, privateip, ostempl, recipe and special_ip_block_<type>"),
        ("  ram: {billing: amount}", "ram.billing: ram can't be ordered yet: expected do_not_count or included, got amount"),
        ("  ip: {billing: amount, mx: 4}", 'ip.mx: is not a setting; did you mean "max"?'),
        ("  ip: {max: 4}", "ip.billing: is required"),
    ],
)  # fmt: skip
def test_these_add_ons_are_refused(addons: str, expected: str):
    assert plan(addons)[1] == [expected]


def test_an_add_on_that_costs_something_costs_it_in_every_currency_and_period_of_the_plan():
    head = HEAD.replace('month: "49.00"}', 'month: "49.00", year: "490"}, USD: {month: "50"}')
    _, problems = plan("  ip: {billing: amount, prices: {EUR: {month: '2'}}}", head)
    assert problems == [
        "ip.prices: expected prices in USD too, as the plan has them",
        "ip.prices.EUR: expected a price for year too, as the plan has one",
    ]


def test_rules_of_good_add_ons_are_told_beside_a_wrong_one():
    _, problems = plan("  ip: {billing: 5}\n  ipv7: {billing: amount}\n  ipv6: {billing: amount, max: 1, default: 2}")
    assert [problem.split(": ")[0] for problem in problems] == ["ip.billing", "ipv7", "ipv6.default"]


def test_only_ostempl_is_required_unless_said_otherwise():
    found = good(
        "  ostempl: {billing: client_selects, values: [a]}\n  recipe: {billing: client_selects, values: [b]}\n"
        "  ipv6: {billing: amount, required: true}"
    )
    assert found.required_addons == {"ostempl", "ipv6"}
    assert good("  ostempl: {billing: included, default: a, required: false}").required_addons == frozenset()


def test_a_plan_without_a_price_for_any_period_is_refused():
    _, problems = plan("  {}", HEAD.replace(', month: "49.00"', ""))
    assert problems == [
        "plan.yaml:4:15: prices.EUR: expected a price for at least one period: day, month, quarter, half_year, year"
    ]


def test_a_plan_names_each_module_once():
    assert plan("  {}", HEAD.replace("[m]", "[m, m]"))[1] == ["plan.yaml:3:10: modules: expected each module once"]


def test_prices_keep_every_digit():
    found = good("  ip: {billing: amount, prices: {EUR: {month: '0.123456'}}}")
    assert found.addons["ip"].prices["EUR"].month == Decimal("0.123456")
    assert found.prices["EUR"].periods == {"month": Decimal("49.00")}


def test_a_revision_is_what_is_sold_and_not_how_the_file_looks():
    first = good("  ip: {billing: amount, max: 4}")
    again = good("  # a remark\n  ip:\n    max: 4\n    billing: 'amount'")
    other = good("  ip: {billing: amount, max: 5}")
    assert first.revision == again.revision
    assert first.revision != other.revision
    assert re.fullmatch(r"[0-9a-f]{64}", first.revision)


def test_the_content_of_a_revision_is_plain_json_and_reads_back_equal():
    found = good(
        "  ip: {billing: amount, max: 4, prices: {EUR: {month: '2.00'}}}\n  ostempl: {billing: included, default: a}"
    )
    content: Any = json.loads(json.dumps(found.content()))
    again = PlanSettings.model_validate(content)
    assert again == found
    assert again.revision == found.revision


def test_an_id_stays_the_same_from_release_to_release():
    """A change makes every plan look edited: give new fields to `content` knowingly, then change this number."""
    assert good("  ip: {billing: amount, max: 4, prices: {EUR: {month: '2.00'}}}").revision[:16] == "68ab149c15f062bd"
