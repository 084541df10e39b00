"""A month on a virtual clock: what happens in it, and in the end what the usage records say of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.panel import Panel

from daemon import app
from daemon.cli.demo.account import reached
from daemon.cli.demo.cast import ADA, BOB, CLEO, DANA, INCLUDED_TO_CLEO, LARGE, SMALL, Customer, write_plans
from daemon.cli.demo.comparison import Comparison
from daemon.cli.demo.outcome import require
from daemon.cli.demo.passing import RHYTHM, Passing
from daemon.cli.graph import BLOCKS, PLAIN, graph_of, lines
from daemon.domain.clock import SystemClock, VirtualClock
from daemon.domain.periods import Grain
from daemon.domain.service import Service
from daemon.observability import logs
from daemon.sandbox import Sandbox, SandboxSettings
from daemon.settings.loader import load
from daemon.stats.drawing import Form
from daemon.stats.usage import Span

START = datetime(2026, 2, 28, 8, 0, tzinfo=UTC)
TURN = datetime(2026, 3, 1, tzinfo=UTC)
NIGHT = datetime(2026, 3, 10, 22, tzinfo=UTC)
MORNING = datetime(2026, 3, 11, 4, tzinfo=UTC)
DAYS = (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 14, tzinfo=UTC))
HANDED_OVER = datetime(2026, 3, 15, 12, 40, tzinfo=UTC)
END = datetime(2026, 4, 1, 5, 0, tzinfo=UTC)
"""After the month: its last readings may come for two rounds, and then the grace time of two hours passes."""

MODULE_SETTINGS: dict[str, object] = {
    "poll_every": f"{RHYTHM // timedelta(minutes=1)}m",
    "watch_every": "30s",
    "install_start_within": "20s",
    "install_at_least": "30s",
}


async def tell(folder: Path, console: Console, *, miscount: bool = False) -> None:
    """Raises DemoError for any difference. `miscount`: one byte of the sandbox's count is changed before it is compared."""
    with (folder / "month.log").open("w") as logfile:
        logs.configure("warning", stream=logfile)
        async with _story(folder, console) as story:
            await story.tell(miscount=miscount)


@asynccontextmanager
async def _story(folder: Path, console: Console) -> AsyncIterator[_Story]:
    clock = VirtualClock(START)
    panels = SandboxSettings(
        servers={SMALL: 2, LARGE: 1}, install_seconds=600, power_seconds=20, resources=(), now=clock.now
    )
    async with Sandbox.start(panels) as sandbox:
        config = sandbox.write_config(folder, MODULE_SETTINGS)
        write_plans(config.parent / "plans.d")
        async with app.use_cases(load(config), clock) as house:
            yield _Story(sandbox, clock, house, console)


class _Story:
    def __init__(self, sandbox: Sandbox, clock: VirtualClock, house: app.UseCases, console: Console) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._house = house
        self._console = console
        self._passing = Passing(house, clock, self._show_mail)
        self._customers: dict[int, Customer] = {}
        self._servers: dict[Customer, str] = {}
        self._mails = 0

    async def tell(self, *, miscount: bool) -> None:
        real = SystemClock()
        began = real.monotonic()
        self._console.print(
            "\n[bold]A month on a virtual clock[/]: the daemon's own parts in this process, the panels over HTTP, a round "
            "of collection each hour so that it passes quickly (a daemon's default is five minutes)."
        )
        await self._open()
        await self._night_and_handing_over()
        await self._passing.until(END)
        self._say(f"{len(self._passing.rounds)} rounds were answered, {self._passing.missed} were not")
        await self._count(miscount=miscount)
        self._console.print(f"The month took {real.monotonic() - began:.0f} seconds.")

    def _say(self, what: str) -> None:
        self._console.print(f"{self._clock.now():%d %b %H:%M}  {what}")

    def _show_mail(self) -> None:
        for mail in self._sandbox.mail.messages[self._mails :]:
            self._say(f"mail to {', '.join(mail.recipients)}: {mail.subject}")
        self._mails = len(self._sandbox.mail.messages)

    def _check_alerts(self) -> None:
        """Cleo heard of 80 % and of all that is included, once each and soon; the second mail is shown."""
        used = self._sandbox.dci.ledger[self._servers[CLEO]]
        mails = [mail for mail in self._sandbox.mail.messages if mail.recipients == (CLEO.email,)]
        for share, words in ((80, "80 % of the included"), (100, "all of the included")):
            found = [mail for mail in mails if words in mail.subject]
            require(len(found) == 1, f"Cleo got {len(found)} mails that {share} % of the traffic is used, not one")
            at = reached(used, TURN, INCLUDED_TO_CLEO * share // 100)
            late = found[0].received - at
            require(timedelta() <= late <= 2 * RHYTHM, f"Cleo used {share} % at {at}, and was told {late} later")
        self._console.print(Panel(found[0].text.strip(), title=found[0].subject, width=80))
        self._console.print(
            f"Her server sent the last byte of it at {at:%H:%M}; she was told at {found[0].received:%H:%M}."
        )

    async def _show_graph(self) -> None:
        """Some days of Cleo's with the night in it, as `provisiond usage graph` draws it."""
        [number] = [number for number, customer in self._customers.items() if customer is CLEO]
        terms = await self._house.statistics.usage.terms(await self._passing.service(number))
        line = await self._house.statistics.usage.line(terms, "out", Span(*DAYS), Grain.HOUR, Form.COLUMNS)
        body = {
            "metric": "out",
            "service": number,
            "resolution": "hour",
            "zone": "UTC",
            "from": DAYS[0].isoformat(),
            "until": DAYS[1].isoformat(),
            "rate_unit": "bit/s",
            "unit": "KiB",
            "columns": json.loads(line.text),
        }
        graph = graph_of(body)
        require(graph is not None and line.count > 0, "there is nothing to draw of Cleo's days")
        assert graph is not None
        blocks = PLAIN if self._console.options.ascii_only else BLOCKS
        for text in lines(graph, 80, blocks):
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    async def _count(self, *, miscount: bool) -> None:
        comparison = Comparison(self._sandbox, self._passing, self._customers, self._console)
        records = await comparison.records()
        self._say(f"the grace time is over, the periods are closed: {len(records)} records")
        self._check_alerts()
        await self._show_graph()
        await comparison.nothing_missing(records)
        if miscount:
            comparison.miscount()
        await comparison.compare(records)
        await comparison.verify(records)

    # what happens -------------------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        for customer in (ADA, BOB, CLEO):
            await self._sell(customer)
        await self._passing.until(TURN)
        self._say("the panel's totals begin anew; in Berlin March is an hour old")

    async def _sell(self, customer: Customer) -> Service:
        service = await self._passing.order(customer.order())
        self._customers[service.id] = customer
        self._servers[customer] = str(service.remote_id)
        self._sandbox.dci.put_load(str(service.remote_id), customer.load)
        self._say(f"{customer.name} has server {service.remote_id} ({customer.plan}), and uses it")
        return service

    async def _night_and_handing_over(self) -> None:
        await self._passing.until(NIGHT)
        self._sandbox.fault("dci", "*", "http_503", times=0)
        self._say("the panel is down for the night; the servers go on sending")
        await self._passing.until(MORNING)
        self._sandbox.clear_faults()
        self._say(f"it is back; {self._passing.missed} rounds were missed")
        await self._passing.until(HANDED_OVER)
        [bob] = [number for number, customer in self._customers.items() if customer is BOB]
        await self._passing.release(bob)
        server = (await self._passing.service(bob)).remote_id
        self._say(f"Bob has left; his server {server} is free, his traffic on its total")
        dana = await self._sell(DANA)
        require(dana.remote_id == server, f"Dana got server {dana.remote_id} instead of {server}")
