"""Whatever is sent: a clear 4xx that names the field, and nothing stored."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.api.house import House
from tests.provisioning.world import TEMPLATE, order

LONG = "x" * 65536
CUSTOMER = {"ref": "C-17", "name": "Ada Example", "email": "ada@example.test"}


def customer(**changes: Any) -> dict[str, Any]:
    return {"customer": {**CUSTOMER, **changes}}


def addons(**changes: Any) -> dict[str, Any]:
    return {"addons": {"ostempl": TEMPLATE, **changes}}


BAD_ORDERS = [
    ({"plan": "nothing"}, "plan"),
    ({"plan": ""}, "plan"),
    ({"plan": LONG}, "plan"),
    ({"plan": 7}, "plan"),
    ({"plan": None}, "plan"),
    (addons(flux=1), "addons.flux"),
    (addons(**{LONG: 1}), "addons." + LONG),
    (addons(ip=0), "addons.ip"),
    (addons(ip=17), "addons.ip"),
    (addons(ip=2**63), "addons.ip"),
    (addons(ip=-(2**63) - 1), "addons.ip"),
    (addons(ip=10**300), "addons.ip"),
    (addons(ip=True), "addons.ip"),
    (addons(ip=1.0), "addons.ip"),
    (addons(ip=None), "addons.ip"),
    (addons(ip="2"), "addons.ip"),
    (addons(ip=[1]), "addons.ip"),
    ({"addons": {"ostempl": "Windows"}}, "addons.ostempl"),
    ({"addons": {"ostempl": ""}}, "addons.ostempl"),
    ({"addons": []}, "addons"),
    (addons(special_ip_block_guardvlan9="somewhere"), "addons.special_ip_block_guardvlan9"),
    ({"currency": "XXX"}, "currency"),
    ({"currency": "eur"}, "currency"),
    ({"currency": 978}, "currency"),
    ({"period": "fortnight"}, "period"),
    ({"period": LONG}, "period"),
    (customer(name=""), "customer.name"),
    (customer(name="   "), "customer.name"),
    (customer(name="Ada\x00"), "customer.name"),
    (customer(name="Ada\ud800"), "customer.name"),
    (customer(name="Ada\x1b[2J"), "customer.name"),
    (customer(name=LONG), "customer.name"),
    (customer(ref=""), "customer.ref"),
    (customer(ref="\x00"), "customer.ref"),
    (customer(ref=LONG), "customer.ref"),
    (customer(ref=17), "customer.ref"),
    (customer(email="nobody"), "customer.email"),
    (customer(email="a@b\nBcc: c@d"), "customer.email"),
    (customer(email=LONG + "@example.test"), "customer.email"),
    (customer(age=36), "customer.age"),
    ({"customer": "C-17"}, "customer"),
    ({"hostname": "localhost"}, "hostname"),
    ({"hostname": "-a.example.test"}, "hostname"),
    ({"hostname": "A.example.test"}, "hostname"),
    ({"hostname": "a.example.test\n"}, "hostname"),
    ({"hostname": "a\x00.example.test"}, "hostname"),
    ({"hostname": ".".join(["a" * 60] * 5)}, "hostname"),
    ({"hostname": "free.ds"}, "hostname"),
    ({"surprise": 1}, "surprise"),
    ({"\x00": 1}, "body"),
]


@pytest.mark.parametrize(("change", "field"), BAD_ORDERS, ids=[str(n) for n in range(len(BAD_ORDERS))])
async def test_a_bad_order_is_refused_with_the_name_of_its_field(home: House, change: Any, field: str) -> None:
    data = json.dumps(order(**change)).encode()
    for path, key in (("/v1/orders", "k"), ("/v1/orders/plan", None)):
        answer = await home.ask("POST", path, data=data, key=key)
        assert answer.status == 422, answer.text
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert any(found.startswith(field[:200]) for found in answer.fields), answer.text
    assert (await home.get("/v1/orders")).body["items"] == []


async def test_everything_wrong_with_an_order_is_said_at_once(home: House) -> None:
    bad = order(**customer(name=""), currency="XXX", hostname="x", addons={"ostempl": "no", "ip": 99, "flux": 1})
    answer = await home.order(bad)
    assert {"customer.name", "currency", "hostname", "addons.ostempl", "addons.ip", "addons.flux"} <= set(answer.fields)


@pytest.mark.parametrize("body", ["[]", "null", '"x"', "1", "{}"])
async def test_json_that_is_no_order_is_refused(home: House, body: str) -> None:
    assert (await home.ask("POST", "/v1/orders", data=body.encode(), key="k")).status == 422


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"\xef\xbb\xbf{}", "bad_json"),
        (b'{"plan": NaN}', "bad_json"),
        (b'{"plan": -Infinity}', "bad_json"),
        (b'{"plan": 1e309}', "bad_json"),
        (b'{"plan": ' + b"9" * 5000 + b"}", "bad_json"),
        (b'{"plan": "a", "plan": "b"}', "duplicate_key"),
        (b'{"customer": {"ref": "a", "ref": "b"}}', "duplicate_key"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"),
    ],
)
async def test_what_is_not_clean_json_is_refused(home: House, data: bytes, code: str) -> None:
    answer = await home.ask("POST", "/v1/orders", data=data, key="k")
    assert (answer.status, answer.body["code"]) == (400, code), answer.text


async def test_a_body_over_one_mebibyte_is_refused(home: House) -> None:
    body = io.BytesIO(b'"' + b"x" * 1024 * 1024 + b'"')
    answer = await home.ask("POST", "/v1/orders", data=body, key="k")
    assert (answer.status, answer.body["code"]) == (413, "too_large")


async def test_a_body_of_another_type_is_refused(home: House) -> None:
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ):
        answer = await home.ask("POST", "/v1/orders", data=b"{}", key="k", headers=headers)
        assert answer.status in {400, 415}, answer.text
        assert answer.headers["Content-Type"].startswith("application/")


@pytest.mark.parametrize("key", ["", "x" * 201, "caf\u00e9", "a\tb"])
async def test_a_key_that_is_none_is_refused(home: House, key: str) -> None:
    answer = await home.order(order(), key=key or " ") if key else await home.ask("POST", "/v1/orders", order(), key="")
    assert answer.status in {400, 422}
    assert answer.body["code"] in {"bad_key", "key_required"}


IDS = ["0", "-1", "abc", "1.0", "9223372036854775808", "99999999999999999999999", "%00", "%F0%9F%92%A9", "1%20", "٣"]


@pytest.mark.parametrize("number", IDS)
@pytest.mark.parametrize("path", ["services", "operations", "tasks", "orders"])
async def test_an_id_that_can_not_be_is_not_found(home: House, path: str, number: str) -> None:
    answer = await home.get(f"/v1/{path}/{number}")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")


BAD_QUERIES = [
    ("/v1/services?limit=0", "limit"),
    ("/v1/services?limit=501", "limit"),
    ("/v1/services?limit=9223372036854775808", "limit"),
    ("/v1/services?limit=ten", "limit"),
    ("/v1/services?limit=1.0", "limit"),
    ("/v1/services?limit=+1", "limit"),
    ("/v1/services?limit=1&limit=2", "limit"),
    ("/v1/services?after=!!", "after"),
    ("/v1/services?after=YQ", "after"),
    ("/v1/services?after=Yzp4", "after"),
    ("/v1/services?after=Yzo5OTk5OTk5OTk5OTk5OTk5OTk5", "after"),
    ("/v1/services?state=sleeping", "state"),
    ("/v1/services?customer=%00", "customer"),
    ("/v1/services?color=red", "color"),
    ("/v1/operations?service=9223372036854775808", "service"),
    ("/v1/operations?status=busy", "status"),
    ("/v1/tasks?status=busy", "status"),
    ("/v1/usage-records?service=0", "service"),
]


@pytest.mark.parametrize(("path", "field"), BAD_QUERIES)
async def test_a_bad_parameter_is_refused_by_name(home: House, path: str, field: str) -> None:
    answer = await home.get(path)
    assert answer.status == 400, answer.text
    assert answer.fields == [field]


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-01-01T00:00:00",
        "from=yesterday",
        "from=2026-01-01T00:00:00+00:00",
        "until=0001-01-01T00:00:00Z",
        "until=9999-12-31T23:59:59-12:00",
        "until=2026-13-01T00:00:00Z",
        "resolution=fortnight",
    ],
)
async def test_a_time_without_offset_or_beyond_the_calendar_is_refused(home: House, query: str) -> None:
    placed = (await home.order(order())).body
    answer = await home.get(f"/v1/services/{placed['service']['id']}/usage?{query}")
    assert answer.status == 400, answer.text
    assert answer.fields == [query.split("=", maxsplit=1)[0]]


async def test_a_reason_with_nul_or_of_64_kib_is_refused(home: House) -> None:
    placed = (await home.order(order())).body
    for reason in ("a\x00b", LONG, 7, "\ud800"):
        answer = await home.ask(
            "POST", f"/v1/services/{placed['service']['id']}/release", data=json.dumps({"reason": reason}).encode()
        )
        assert answer.status == 422
        assert answer.fields == ["reason"]
    assert (await home.get(f"/v1/services/{placed['service']['id']}")).body["target"] == "active"
