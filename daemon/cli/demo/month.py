"""A month on a virtual clock: what the usage records say, against what the sandbox's servers really sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Console
from rich.table import Table

from daemon import app
from daemon.cli.demo.account import Watched, within
from daemon.cli.demo.outcome import DemoError, require
from daemon.cli.demo.passing import RHYTHM, Passing
from daemon.domain.clock import SystemClock, VirtualClock
from daemon.domain.metering import UsageRecord, coverage
from daemon.domain.service import Service
from daemon.observability import logs
from daemon.sandbox import Sandbox, SandboxSettings
from daemon.sandbox.dci_load import Load
from daemon.settings.loader import load
from daemon.stats.records import Proof

SYSTEM = "ISPsystem__Debian-12-x86_64"
SMALL, LARGE = "E3-1230-16G", "E5-2690-64G"
START = datetime(2026, 2, 28, 8, 0, tzinfo=UTC)
TURN = datetime(2026, 3, 1, tzinfo=UTC)
NIGHT = datetime(2026, 3, 10, 22, tzinfo=UTC)
MORNING = datetime(2026, 3, 11, 4, tzinfo=UTC)
HANDED_OVER = datetime(2026, 3, 15, 12, 40, tzinfo=UTC)
MONTH_END = {"ds-small": datetime(2026, 3, 31, 22, tzinfo=UTC), "ds-large": datetime(2026, 4, 1, tzinfo=UTC)}
"""Of the plans' zones: Berlin has summer time by then."""
END = datetime(2026, 4, 1, 5, 0, tzinfo=UTC)
"""After the month: its last readings may come for two rounds, and then the grace time of two hours passes."""

MODULE_SETTINGS: dict[str, object] = {
    "poll_every": f"{RHYTHM // timedelta(minutes=1)}m",
    "watch_every": "30s",
    "install_start_within": "20s",
    "install_at_least": "30s",
}
RESOURCES = ("in", "out", "power", "energy", "burst_in_day", "burst_out_day")
PLAN = """\
name: {name}
server_type: {type}
modules: [dci-main]
prices: {{EUR: {{month: "49.00"}}}}
addons: {{ostempl: {{billing: client_selects, values: [{system}], default: {system}}}}}
resources:
  in: {{}}
  out: {{{out}}}
  power: {{}}
  energy: {{}}
  burst_in_day: {{{burst}}}
  burst_out_day: {{{burst}}}
"""


@dataclass(frozen=True)
class Customer:
    name: str
    plan: str
    load: Load

    @property
    def email(self) -> str:
        return f"{self.name.lower()}@example.test"

    def order(self) -> dict[str, object]:
        return {
            "plan": self.plan,
            "customer": {"ref": f"C-{self.name}", "name": self.name, "email": self.email},
            "currency": "EUR",
            "period": "month",
            "hostname": f"{self.name.lower()}.example.test",
            "addons": {},
        }


ADA = Customer("Ada", "ds-small", Load(rx_mbit=3.3, tx_mbit=17.0, watts=96.4, seed=1))
BOB = Customer("Bob", "ds-small", Load(rx_mbit=41.0, tx_mbit=2.9, watts=104.1, seed=2))
CLEO = Customer("Cleo", "ds-large", Load(rx_mbit=12.1, tx_mbit=37.7, watts=288.8, seed=3))
DANA = Customer("Dana", "ds-small", Load(rx_mbit=1.7, tx_mbit=9.3, watts=88.0, seed=4))


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
        _write_plans(config.parent / "plans.d")
        async with app.use_cases(load(config), clock) as house:
            yield _Story(sandbox, clock, house, console)


def _write_plans(folder: Path) -> None:
    small = PLAN.format(name="ds-small", type=SMALL, system=SYSTEM, out="", burst="") + "zone: Europe/Berlin\n"
    large = PLAN.format(
        name="ds-large",
        type=LARGE,
        system=SYSTEM,
        out="included: 10 TiB, alert_every: 1 TiB",
        burst="direction: larger",
    )
    (folder / "ds-small.yaml").write_text(small)
    (folder / "ds-large.yaml").write_text(large)


class _Story:
    def __init__(self, sandbox: Sandbox, clock: VirtualClock, house: app.UseCases, console: Console) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._house = house
        self._console = console
        self._passing = Passing(house, clock, self._show_mail)
        self._customers: dict[int, Customer] = {}
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
        records = await self._records()
        await self._nothing_missing(records)
        if miscount:
            self._miscount()
        await self._compare(records)
        await self._verify(records)
        self._console.print(f"The month took {real.monotonic() - began:.0f} seconds.")

    def _say(self, what: str) -> None:
        self._console.print(f"{self._clock.now():%d %b %H:%M}  {what}")

    def _show_mail(self) -> None:
        for mail in self._sandbox.mail.messages[self._mails :]:
            self._say(f"mail to {', '.join(mail.recipients)}: {mail.subject}")
        self._mails = len(self._sandbox.mail.messages)

    # what happens -------------------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        for customer in (ADA, BOB, CLEO):
            await self._sell(customer)
        await self._passing.until(TURN)
        self._say("the panel's totals begin anew; in Berlin March is an hour old")

    async def _sell(self, customer: Customer) -> Service:
        service = await self._passing.order(customer.order())
        self._customers[service.id] = customer
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
        self._say(f"Bob has left; his server {server} is free, his traffic still on its total")
        dana = await self._sell(DANA)
        require(dana.remote_id == server, f"Dana got server {dana.remote_id} instead of {server}")

    # what was counted ---------------------------------------------------------------------------------------------------------

    async def _records(self) -> list[UsageRecord]:
        read = self._house.store.read.usage_records
        found = [r for n in self._customers for r in await read.page(service_id=n, after=0, limit=100, newest=True)]
        require(bool(found), "no period was closed")
        self._say(f"the grace time is over, the periods are closed: {len(found)} records")
        return sorted(found, key=lambda r: (r.service_id, r.since, RESOURCES.index(r.resource)))

    async def _nothing_missing(self, records: list[UsageRecord]) -> None:
        """Every resource of every service, from the start of billing to its end, without a hole."""
        for number, customer in self._customers.items():
            service = await self._passing.service(number)
            for code in RESOURCES:
                if code == "burst_out_day" and customer is CLEO:
                    continue  # the larger of the two directions stands under burst_in_day
                own = [r for r in records if (r.service_id, r.resource) == (number, code)]
                edges = [service.billing_from, *(r.until for r in own)]
                whole = edges[:-1] == [r.since for r in own] and len(own) == (1 if customer is DANA else 2)
                ended = service.billing_until or MONTH_END[customer.plan]
                require(whole and edges[-1] == ended, f"{customer.name}'s records of {code} are not whole")

    def _miscount(self) -> None:
        ledger = self._sandbox.dci.ledger[next(iter(self._sandbox.dci.ledger))]
        place = len(ledger) // 2
        ledger[place] = replace(ledger[place], rx=ledger[place].rx + 1)

    async def _compare(self, records: list[UsageRecord]) -> None:
        table, differences, rest = _table(), [], 0
        for record in records:
            service = await self._passing.service(record.service_id)
            name, sent = self._customers[service.id].name, self._expected(service, record)
            same = sent == record.base_quantity
            if not same:
                differences.append(
                    f"{name}'s {record.resource} from {record.since:%d %b}: the usage record says "
                    f"{record.base_quantity} {record.base_unit}, the sandbox counted {sent} {record.base_unit}"
                )
            if record.until - record.since < timedelta(days=1):
                rest += 1
                continue
            label = "burst (larger)" if self._is_larger(record) else record.resource
            known = f"{coverage(record.covered, record.since, record.until)} %"
            mark = "[green]equal[/]" if same else "[red]differs[/]"
            first = record.resource == RESOURCES[0]
            table.add_row(
                name if first else "", label, str(sent), str(record.base_quantity), record.base_unit, known, mark
            )
        self._console.print(table)
        if differences:
            raise DemoError("; ".join(differences))
        self._console.print(f"So are the {rest} records of the last hours of February.")

    def _is_larger(self, record: UsageRecord) -> bool:
        return record.resource.startswith("burst") and self._customers[record.service_id].plan == "ds-large"

    def _expected(self, service: Service, record: UsageRecord) -> int | None:
        """What the ledger says of the record's period. The count of a service begins with the reading of its activation."""
        begun = datetime.fromisoformat(service.properties["baseline"]["at"])
        assert service.billing_from is not None
        rounds = within(self._passing.rounds, service.billing_from, service.billing_until)
        ended = [service.billing_until] if service.billing_until else []
        watched = Watched(
            ledger=self._sandbox.dci.ledger[str(service.remote_id)],
            traffic=[begun, *rounds, *ended],
            power=rounds,
            rhythm=RHYTHM,
            panel_zone=ZoneInfo("UTC"),
        )
        since = begun if record.since == service.billing_from else record.since
        return watched.expected(record.resource, since, record.until, larger=self._is_larger(record))

    async def _verify(self, records: list[UsageRecord]) -> None:
        for verdict in await self._house.statistics.records.verify(records):
            require(
                verdict.proof is Proof.INTACT,
                f"usage record {verdict.record.id} is {verdict.proof}: {'; '.join(verdict.differences)}",
            )
        self._console.print(
            f"Recomputed from their samples, all {len(records)} records come out the same, bit for bit."
        )


def _table() -> Table:
    table = Table(title="\nMarch, as the sandbox sent it and as the records say", box=box.SIMPLE, collapse_padding=True)
    for name in ("", "resource", "sandbox", "usage record", "unit", "known", ""):
        table.add_column(
            name, justify="right" if name in ("sandbox", "usage record", "known") else "left", no_wrap=True
        )
    return table
