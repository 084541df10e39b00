from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from itertools import pairwise

import pytest

from daemon.notify.delivery import GIVE_UP_AFTER, MOST_BETWEEN, back_off, deliver_due, tried_for
from daemon.notify.mail import message_id
from daemon.observability.metrics import Metrics

DEPARTMENT = {
    "department": "dc-team",
    "subject": "Operation 7 waits",
    "text": "No server is free.\nIt goes on by itself.",
}


async def put(store, key="notice:7:free_server", kind="department_mail", payload=None):
    async with store.transaction() as tx:
        await tx.outbox.put(key, kind, DEPARTMENT if payload is None else payload)


async def row(store, key="notice:7:free_server"):
    (found,) = await store.read.fetch("SELECT * FROM outbox WHERE key = ?", key)
    return found


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_department_gets_its_mail_once(store, mailer, clock, sink):
    await put(store)
    assert await deliver_due(store, mailer, clock) == 1
    assert await deliver_due(store, mailer, clock) == 0
    (mail,) = sink.messages
    assert mail.sender == "noc@example.test"
    assert mail.recipients == ("dc@example.test",)
    assert mail.subject == "Operation 7 waits"
    assert mail.text.splitlines() == ["No server is free.", "It goes on by itself."]
    assert await store.read.outbox.backlog() == 0


async def test_a_refusal_for_now_and_a_delivery_are_kept_by_either_database(either_store, mailer, clock, sink):
    sink.refuse = "450 greylisted"
    await put(either_store)
    assert await deliver_due(either_store, mailer, clock) == 1
    assert (await row(either_store))["error"] == "the mail server refuses the recipient: 450 greylisted"
    sink.refuse = None
    clock.advance(60)
    assert await deliver_due(either_store, mailer, clock) == 1
    assert len(sink.messages) == 1
    assert await either_store.read.outbox.backlog() == 0


async def test_a_mail_has_a_stable_id_the_time_of_the_clock_and_asks_for_no_answer(store, mailer, clock, sink):
    await put(store)
    await deliver_due(store, mailer, clock)
    message = sink.messages[0].message
    assert message["Message-ID"] == f"<{message_id('notice:7:free_server')}>"
    assert message["Date"].datetime == clock.now()
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    assert message.get_content_charset() == "utf-8"


async def test_the_customer_gets_the_addresses_and_a_link_but_no_password(store, mailer, clock, sink):
    payload = {
        "to": "anna@customer.example",
        "operation": 7,
        "hostname": "a.example.test",
        "addresses": ["192.0.2.4", "2001:db8::4"],
        "days": 7,
    }
    await put(store, "active:3", "service_active", payload)
    await deliver_due(store, mailer, clock)
    (mail,) = sink.messages
    assert mail.recipients == ("anna@customer.example",)
    assert mail.subject == "Your server a.example.test is ready"
    for expected in ("a.example.test", "192.0.2.4", "2001:db8::4", "https://p.test/access/L7", "7 days"):
        assert expected in mail.text


async def test_a_customer_mail_can_come_from_a_template(store, mailer, clock, sink):
    values = {"title": "Rack server 12", "instructions": "Row 4.", "wants": {"mac": "its address"}, "task": 9}
    await put(store, "k", "customer_mail", {"to": "x@y.test", "subject": "s", "template": "task", "values": values})
    await deliver_due(store, mailer, clock)
    assert "mac: its address" in sink.messages[0].text


async def test_text_in_any_language_arrives_as_it_was_written(store, mailer, clock, sink):
    payload = {"to": "x@y.test", "subject": "Grüße — сервер готов", "text": "§ 日本\n.\n.dot\n" + "x" * 3000}
    await put(store, "k", "customer_mail", payload)
    await deliver_due(store, mailer, clock)
    assert sink.messages[0].subject == payload["subject"]
    assert sink.messages[0].text.replace("\r\n", "\n").rstrip("\n") == payload["text"]


@pytest.mark.parametrize("subject", ["a\r\nBcc: evil@example.test", "a\nX: y", "a\r\n\r\nbody", "a\x00b\x85c\u2028d"])
async def test_a_subject_cannot_add_a_header(store, mailer, clock, sink, subject):
    await put(store, payload={**DEPARTMENT, "subject": subject})
    await deliver_due(store, mailer, clock)
    (mail,) = sink.messages
    assert mail.recipients == ("dc@example.test",)
    wanted = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
    assert set(mail.message.keys()) == wanted | {"Content-Transfer-Encoding"}
    assert "\n" not in mail.subject


@pytest.mark.parametrize(
    "to",
    ["", "nobody", "a@b.test\r\nRCPT TO:<evil@example.test>", "a@b.test>, <evil@example.test", "a@b@c", "a b@c.test", "a@b..c", "@b.test"],
)  # fmt: skip
async def test_what_is_no_address_gets_no_mail_and_is_given_up_at_once(store, mailer, clock, sink, to):
    await put(store, "k", "customer_mail", {"to": to, "subject": "s", "text": "t"})
    assert await deliver_due(store, mailer, clock) == 1
    assert sink.messages == []
    found = await row(store, "k")
    assert found["error"] == "the recipient is no mail address"
    assert found["due_at"] is None


async def test_an_address_with_foreign_letters_is_reached_by_a_server_that_can(store, mailer, clock, sink):
    await put(store, "k", "customer_mail", {"to": "jürgen@münchen.example", "subject": "s", "text": "t"})
    await deliver_due(store, mailer, clock)
    assert sink.messages[0].recipients == ("jürgen@münchen.example",)


async def test_without_a_mail_server_in_the_settings_the_backlog_does_not_grow(store, make_mailer, clock):
    await put(store)
    assert await deliver_due(store, make_mailer(None), clock) == 1
    assert await store.read.outbox.backlog() == 0
    assert (await row(store))["delivered_at"] is not None


@pytest.mark.parametrize("department", ["night", "nobody-knows", ""])
async def test_a_department_without_mail_is_passed_over(store, mailer, clock, sink, department):
    await put(store, payload={**DEPARTMENT, "department": department})
    await deliver_due(store, mailer, clock)
    assert sink.messages == []
    assert await store.read.outbox.backlog() == 0


async def test_a_recipient_refused_for_good_is_not_asked_again(store, mailer, clock, sink):
    sink.refuse = "550 no such user"
    await put(store)
    await deliver_due(store, mailer, clock)
    found = await row(store)
    assert found["due_at"] is None
    assert found["delivered_at"] is None
    assert found["error"] == "the mail server refuses the recipient: 550 no such user"
    clock.advance(timedelta(days=30).total_seconds())
    assert await deliver_due(store, mailer, clock) == 0


async def test_a_recipient_refused_for_now_is_asked_again_with_the_same_message_id(store, mailer, clock, sink):
    sink.refuse = "450 greylisted"
    await put(store)
    await deliver_due(store, mailer, clock)
    sink.refuse = None
    assert await deliver_due(store, mailer, clock) == 0
    clock.advance(60)
    assert await deliver_due(store, mailer, clock) == 1
    assert len(sink.messages) == 1
    assert (await row(store))["error"] is None


async def test_a_mail_server_that_is_down_is_tried_for_three_days_with_longer_and_longer_pauses(
    store, make_mailer, clock
):
    mailer = make_mailer(closed_port())
    await put(store)
    begun = clock.now()
    tries = []
    while await store.read.outbox.backlog():
        due = store.read.moment((await row(store))["due_at"])
        clock.advance_to(due)
        tries.append(clock.now() - begun)
        assert await deliver_due(store, mailer, clock) == 1
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[:3] == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert pauses[-1] == MOST_BETWEEN
    assert GIVE_UP_AFTER <= tries[-1] < GIVE_UP_AFTER + MOST_BETWEEN
    found = await row(store)
    assert found["attempts"] == len(tries)
    assert "can't be used" in found["error"]


def test_the_pauses_grow_to_six_hours_and_no_further():
    assert [back_off(n) for n in (0, 1, 8, 9, 1000)] == [
        timedelta(minutes=1),
        timedelta(minutes=2),
        timedelta(minutes=256),
        MOST_BETWEEN,
        MOST_BETWEEN,
    ]
    assert tried_for(2) == timedelta(minutes=3)


async def test_a_server_that_is_down_is_asked_once_a_round_not_once_a_parcel(store, make_mailer, clock):
    connections = 0

    async def refuse(reader, writer):
        nonlocal connections
        connections += 1
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        mailer = make_mailer(server.sockets[0].getsockname()[1])
        for number in range(5):
            await put(store, f"k{number}")
        assert await deliver_due(store, mailer, clock) == 5
    assert connections == 1
    assert await store.read.outbox.backlog() == 5
    assert await deliver_due(store, mailer, clock) == 0


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_timeout(store, make_mailer, clock):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        mailer = make_mailer(server.sockets[0].getsockname()[1], timeout="100ms")
        await put(store)
        async with asyncio.timeout(5):
            await deliver_due(store, mailer, clock)
    assert "no answer within 0.1 s" in (await row(store))["error"]


async def test_a_server_that_takes_the_mail_and_never_says_goodbye_has_taken_it(store, make_mailer, clock, monkeypatch):
    monkeypatch.setattr("daemon.notify.mail.GOODBYE_WITHIN", 0.05)
    taken = []

    async def talk(reader, writer):
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            verb = line.split()[0].upper()
            if verb == b"DATA":
                writer.write(b"354 go\r\n")
                while (part := await reader.readline()) != b".\r\n":
                    taken.append(part)
            if verb != b"QUIT":
                writer.write(b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        await put(store)
        await deliver_due(store, make_mailer(server.sockets[0].getsockname()[1]), clock)
    assert taken
    assert (await row(store))["delivered_at"] is not None


async def test_one_bad_parcel_does_not_hold_up_the_others(store, mailer, clock, sink):
    await put(store, "a", "customer_mail", {"nothing": "useful"})
    await put(store, "b", "customer_mail", {"to": "x@y.test", "subject": "s", "template": "../../etc/passwd"})
    await put(
        store, "c", "customer_mail", {"to": "x@y.test", "subject": "s", "template": "task", "values": {"title": "t"}}
    )
    await put(store, "d", "webhook", {"url": "https://x.test"})
    await put(store, "e")
    assert await deliver_due(store, mailer, clock) == 5
    assert len(sink.messages) == 1
    for key in "abc":
        found = await row(store, key)
        assert found["error"]
        assert found["due_at"] is None
    later = await row(store, "d")
    assert later["error"] == "nothing here delivers a parcel of kind webhook"
    assert later["due_at"] is not None


async def test_the_limit_of_a_round_leaves_the_rest_for_the_next(store, mailer, clock, sink):
    for number in range(5):
        await put(store, f"k{number}")
    assert await deliver_due(store, mailer, clock, limit=3) == 3
    assert await deliver_due(store, mailer, clock, limit=3) == 2
    assert len(sink.messages) == 5


async def test_two_rounds_at_once_send_each_parcel_once(store, mailer, clock, sink):
    for number in range(4):
        await put(store, f"k{number}")
    counts = await asyncio.gather(*(deliver_due(store, mailer, clock) for _ in range(3)))
    assert sorted(counts) == [0, 0, 4]
    assert len(sink.messages) == 4


async def test_a_crash_between_the_mail_and_its_mark_sends_it_again_under_the_same_id(store, mailer, clock, sink):
    await put(store)
    (parcel,) = await store.read.outbox.due(clock.now(), 1)
    await mailer.send(parcel.key, mailer.letter(parcel))
    await deliver_due(store, mailer, clock)
    first, second = sink.messages
    assert first.message["Message-ID"] == second.message["Message-ID"]


async def test_outcomes_are_counted(store, mailer, clock, sink):
    metrics = Metrics("1")
    await put(store, "a")
    await put(store, "b", payload={**DEPARTMENT, "department": "night"})
    await put(store, "c", "webhook", {})
    await put(store, "d", "customer_mail", {})
    await deliver_due(store, mailer, clock, metrics=metrics)
    text = metrics.render().decode()
    assert 'provisiond_parcels_total{kind="department_mail",outcome="delivered"} 1.0' in text
    assert 'provisiond_parcels_total{kind="department_mail",outcome="not_sent"} 1.0' in text
    assert 'provisiond_parcels_total{kind="webhook",outcome="put_off"} 1.0' in text
    assert 'provisiond_parcels_total{kind="customer_mail",outcome="given_up"} 1.0' in text
