from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.coremanager.documents import Doc, DocReader, parse
from daemon.coremanager.errors import NotThereError, PanelUnhealthyError, error_of, read_refusal
from daemon.coremanager.forms import choices, read_form, save_params
from daemon.coremanager.transport import UnreadableError

XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<doc><elem><id>1</id><note/><rx orig="1610612736">1.50 GiB</rx><poweron/></elem><p_elems>1</p_elems></doc>"""
JSON_OBJECT = b"""{"doc":{"elem":{"id":{"$":"1"},"note":{},"rx":{"$":"1.50 GiB","$orig":"1610612736"},"poweron":{}},
"p_elems":{"$":"1"}}}"""
JSON_ARRAY = JSON_OBJECT.replace(b'"elem":{', b'"elem":[{').replace(b'"poweron":{}}', b'"poweron":{}}]')


@pytest.mark.parametrize("body", [XML, JSON_OBJECT, JSON_ARRAY])
def test_xml_and_json_become_the_same_rows(body: bytes) -> None:
    doc = parse(body)
    [row] = doc.rows()
    assert row.text("id") == "1"
    assert row.has("poweron")
    assert row.orig("rx") == "1610612736"
    assert row.text("rx") == "1.50 GiB"
    assert row.value("rx") == "1610612736"
    assert doc.text("p_elems") == "1"


@pytest.mark.parametrize("body", [XML, JSON_OBJECT])
def test_missing_and_empty_are_told_apart(body: bytes) -> None:
    [row] = parse(body).rows()
    assert row.text("note") == ""
    assert row.text("owner") is None
    assert not row.has("owner")


def test_an_empty_orig_counts_as_none() -> None:
    [row] = parse(b'{"doc":{"elem":[{"rx":{"$":"1.50 GiB","$orig":""}}]}}').rows()
    assert row.orig("rx") is None
    assert row.value("rx") == "1.50 GiB"


def test_a_flat_json_list_is_a_list_of_rows() -> None:
    assert [row.text("id") for row in parse(b'[{"id":"1"},{"id":"2"}]').rows()] == ["1", "2"]


def test_a_list_without_rows_has_none() -> None:
    assert parse(b"<doc/>").rows() == []
    assert parse(b'{"doc":{}}').rows() == []


def test_report_rows_are_found_however_deep_they_stand() -> None:
    doc = parse(b"<doc><reportdata><traff><elem><id>1</id></elem></traff><elem><id>2</id></elem></reportdata></doc>")
    assert [row.findtext("id") for row in doc.report_rows()] == ["1", "2"]


def test_the_answer_may_arrive_in_single_bytes() -> None:
    reader = DocReader()
    for byte in b"  " + XML.lstrip():
        reader.feed(bytes([byte]))
    assert reader.close().rows()[0].text("id") == "1"


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><doc>&b;</doc>"""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        BOMB,
        b"<!DOCTYPE html><html><body>Log in</body></html>",
        b"<html><body/></html>",
        b"<doc><elem><id>1",
        b"not a document",
        b'{"doc":{"elem":[',
        b'{"doc": 3}',
        b"[" * 100_000,
        b'{"doc":' + b'{"a":' * 700 + b"1" + b"}" * 701,
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nobody-knows"?><doc/>',
        b'<!DOCTYPE doc SYSTEM "http://127.0.0.1:9/x"><doc/>',
    ],
)
def test_what_is_no_document_of_a_panel_is_unreadable_and_not_repeated_in_the_error(body: bytes) -> None:
    with pytest.raises(UnreadableError) as caught:
        parse(body)
    assert "Log in" not in str(caught.value)
    assert "aaaa" not in str(caught.value)


def all_that_can_be_asked(doc: Doc) -> None:
    if doc.error is not None:
        read_refusal(doc.error)
    for row in doc.rows():
        row.value("id")
    list(doc.report_rows())
    choices(doc, "owner")
    read_form("server.edit", "1", None, doc)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["doc", "elem", "error", "$", "$type", "msg", "slist", "reportdata", "id"]), inner
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_json_is_a_document_or_unreadable(value: object) -> None:
    with contextlib.suppress(UnreadableError):
        all_that_can_be_asked(parse(json.dumps(value).encode()))


@given(st.binary() | st.binary().map(lambda b: b"<doc>" + b + b"</doc>"))
def test_any_bytes_are_a_document_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(UnreadableError):
        all_that_can_be_asked(parse(body))


def test_a_very_deep_document_is_parsed_or_refused_but_harms_nobody() -> None:
    depth = 100_000
    all_that_can_be_asked(parse(b"<doc>" + b"<a>" * depth + b"</a>" * depth + b"</doc>"))


@pytest.mark.parametrize(
    "body",
    [
        (
            b'<doc><error type="missed" object="elid" lang="en"><param name="object">elid</param>'
            b'<param name="value">7</param><msg>The server was not found</msg></error></doc>'
        ),
        b'<error type="missed" object="elid" value="7"><msg>The server was not found</msg></error>',
        b'{"doc":{"error":{"$type":"missed","$object":"elid","$value":"7","msg":{"$":"The server was not found"}}}}',
        b'{"error":{"$type":"missed","$object":"elid","value":"7","msg":{"msg":{"$":"The server was not found"}}}}',
        b'{"doc":{},"error":{"type":"missed","object":"elid","value":"7","msg":"The server was not found"}}',
    ],
)
def test_an_error_is_read_wherever_it_stands_and_however_it_is_wrapped(body: bytes) -> None:
    error = parse(body).error
    assert error is not None
    refusal = read_refusal(error)
    assert (refusal.type, refusal.object, refusal.value) == ("missed", "elid", "7")
    assert refusal.message == "The server was not found"


def test_error_types_become_our_classes() -> None:
    def refused(error_type: str) -> object:
        found = parse(f'<doc><error type="{error_type}"/></doc>'.encode()).error
        assert found is not None
        return error_of("dci-main", "server", read_refusal(found))

    assert isinstance(refused("missed"), NotThereError)
    assert isinstance(refused("access"), PanelUnhealthyError)
    assert refused("very odd/type").code == "panel_very_odd_type"  # type: ignore[attr-defined]
    assert refused("").code == "panel_unnamed"  # type: ignore[attr-defined]


FORM = b"""<doc><elid>7</elid><name>R1</name><notes>a
b</notes><owner/><type>E3</type><slist name="owner"><val key="no_owner">none</val><val key="3">c</val></slist>
<metadata><form/></metadata><tparams><func>server.edit</func></tparams></doc>"""


def test_a_save_sends_every_field_back_as_it_was_read() -> None:
    form = read_form("server.edit", "7", None, parse(FORM))
    assert save_params(form, {"owner": "3"}) == {
        "elid": "7",
        "sok": "ok",
        "name": "R1",
        "notes": "a\nb",
        "owner": "3",
        "type": "E3",
    }


def test_select_lists_are_choices_and_not_fields() -> None:
    assert choices(parse(FORM), "owner") == ["no_owner", "3"]
    assert choices(parse(FORM), "recipe") == []
